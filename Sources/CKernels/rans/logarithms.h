// Logarithms and powers of two with the same bits on every machine.

#ifndef INGOT_RANS_LOGARITHMS_H
#define INGOT_RANS_LOGARITHMS_H

#include <stddef.h>
#include <stdint.h>

/// 2^24 * 2^(-exponent/256). The fraction's power is rounded to 24 bits, then shifted right, which truncates.
uint32_t rans_power(uint32_t exponent);
/// 2^-x for x >= 0, with a relative error of 10^-7. Returns 0 for NaN and for x above 1000.
double rans_power_of_half(double x);
/// log2 of a positive double, with an error of 10^-9. Returns infinity and NaN unchanged.
double rans_logarithm(double x);
/// 256 * log2(x), with an error of at most one unit. For x = 0 it returns -512, as for a quarter.
int32_t rans_logarithm256(uint32_t x);
/// Replaces each of n sums by its rans_logarithm256.
void rans_logarithms(uint32_t *sums, size_t n);

#endif
