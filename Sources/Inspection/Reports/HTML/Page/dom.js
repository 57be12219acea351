// Creates elements. Data becomes text nodes and attribute values only; nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

function element(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawn(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** A drawing that keeps its proportions when the window is resized and in print. */
function drawing(width, height, label, ...children) {
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label, class: "drawing" }, ...children);
}

function letters(x, y, text, attributes = {}) {
  return drawn("text", { x, y, ...attributes }, text);
}

// The note (tooltip): one element that follows the pointer and the focus.

const note = element("div", { id: "note", role: "tooltip", hidden: true });

/** Shows a note with a title and rows of [label, value] near `place`, in pixels of the window. */
function showNote(place, title, rows) {
  note.replaceChildren(
    element("strong", {}, shortened(visible(title), 160)),
    element("dl", {}, ...rows.filter(Boolean).map(([label, value]) => [element("dt", {}, label), element("dd", {}, value)])),
  );
  note.hidden = false;
  const { width, height } = note.getBoundingClientRect();
  const right = document.documentElement.clientWidth;
  const x = Math.max(4, Math.min(place.x + 14, right - width - 4));
  const y = place.y + 16 + height > window.innerHeight ? Math.max(4, place.y - height - 12) : place.y + 16;
  note.style.left = `${x}px`;
  note.style.top = `${y}px`;
}

function hideNote() {
  note.hidden = true;
}

/**
 * Makes items the marks of a chart: a note on hover and focus, an action on click and Enter. The Tab key stops once at
 * the chart; the arrow keys move between its marks.
 */
function marks(owner, items) {
  let current = 0;
  const explain = (item, place) => showNote(place, item.title, item.rows);
  items.forEach((item, index) => {
    const { node } = item;
    const label = [item.title, ...item.rows.filter(Boolean).map(([name, value]) => `${name} ${value}`)].join(", ");
    fill(
      node,
      { tabindex: index === 0 ? 0 : -1, role: item.act ? "button" : "img", "aria-label": shortened(visible(label), 400) },
      [],
    );
    node.addEventListener("pointermove", (event) => explain(item, { x: event.clientX, y: event.clientY }));
    node.addEventListener("pointerleave", hideNote);
    node.addEventListener("blur", hideNote);
    node.addEventListener("focus", () => {
      items[current].node.setAttribute("tabindex", -1);
      current = index;
      node.setAttribute("tabindex", 0);
      const box = node.getBoundingClientRect();
      explain(item, { x: box.left + box.width / 2, y: box.top + box.height / 2 });
    });
    if (item.act) node.addEventListener("click", item.act);
  });
  owner.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hideNote();
    if ((event.key === "Enter" || event.key === " ") && items[current]?.act) {
      event.preventDefault();
      items[current].act();
    } else if (step && items.length) {
      event.preventDefault();
      items[(current + step + items.length) % items.length].node.focus();
    }
  });
}

/** A row of buttons; exactly one is pressed. */
function choice(label, options, chosen, change) {
  const buttons = options.map(([value, text]) =>
    element("button", {
      type: "button",
      "data-value": value,
      "aria-pressed": String(value === chosen),
      click: () => {
        for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.value === value));
        change(value);
      },
    }, text));
  return element("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
}

/** A drop-down list. Values are indices, so that any text is allowed. */
function menu(label, texts, chosen, change) {
  const options = texts.map((text, index) => element("option", { value: index, selected: index === chosen }, text));
  const list = element("select", { "aria-label": label, change: () => change(Number(list.value)) }, ...options);
  return list;
}

function section(id, title, explanation, tools, ...content) {
  return element("section", { id, class: "card", "aria-labelledby": `${id}-title` },
    element("header", {},
      element("div", {}, element("h2", { id: `${id}-title` }, title), explanation && element("p", { class: "dim" }, explanation)),
      element("div", { class: "tools" }, ...tools)),
    ...content);
}

/** Draws now, and again when the width of `host` changes; returns a function that draws again. */
function keepDrawn(host, draw) {
  let width = 0;
  const redraw = () => {
    const now = Math.round(host.clientWidth);
    if (now > 0) host.replaceChildren(...[draw((width = now))].flat());
  };
  new ResizeObserver(() => Math.abs(host.clientWidth - width) > 1 && redraw()).observe(host);
  redraw();
  return redraw;
}
