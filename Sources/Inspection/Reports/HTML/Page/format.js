// Formats numbers as on the terminal (Sources/IngotCommand/Output/Format.swift), and makes texts safe to show.

const NONE = "–";

function fixed(value, digits) {
  if (!Number.isFinite(value)) return NONE;
  const scale = 10 ** digits;
  const rounded = Math.round(Math.abs(value) * scale) / scale;
  return (value < 0 && rounded > 0 ? "-" : "") + rounded.toFixed(digits);
}

function scientific(value) {
  if (!Number.isFinite(value)) return NONE;
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(2).split("e");
  return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
}

function bytes(count) {
  if (!Number.isFinite(count)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let value = count;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${count} B` : `${fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${units[unit]}`;
}

function whole(count) {
  return Number.isFinite(count) ? String(Math.round(count)).replace(/\B(?=(\d{3})+$)/g, "\u2009") : NONE;
}

function percent(fraction, digits = 1) {
  return Number.isFinite(fraction) ? `${fixed(100 * fraction, digits)} %` : NONE;
}

/** Four significant digits; in scientific notation below 1e-3 and from 1e6 on. */
function figure(value) {
  if (!Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (value === 0) return "0";
  if (size < 1e-3 || size >= 1e6) return scientific(value);
  return fixed(value, Math.max(0, 3 - Math.floor(Math.log10(size))));
}

/** A number on an axis, without trailing zeros. */
function brief(value) {
  return figure(value).replace(/(\.\d*?)0+(?=e|$)/, "$1").replace(/\.(?=e|$)/, "");
}

/** Replaces invisible characters, and characters that change the text direction, with `\u{...}`. */
function visible(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (mark) => `\\u{${mark.codePointAt(0).toString(16)}}`);
}

function shortened(text, length) {
  if (text.length <= length) return text;
  const tail = Math.floor(((length - 1) * 2) / 3);
  return `${text.slice(0, length - 1 - tail)}…${text.slice(-tail)}`;
}

function counted(count, one, more = `${one}s`) {
  return `${whole(count)} ${count === 1 ? one : more}`;
}
