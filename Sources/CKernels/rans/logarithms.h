// Logarithms and powers of two that have the same bits everywhere.

#ifndef INGOT_RANS_LOGARITHMS_H
#define INGOT_RANS_LOGARITHMS_H

#include <stddef.h>
#include <stdint.h>

/// 2^24 * 2^(-exponent/256), rounded at the 24th bit and then cut.
uint32_t rans_power(uint32_t exponent);
/// 2^-x to a part in 10^7, x >= 0.
double rans_power_of_half(double x);
/// log2 of a positive double, to 10^-9; an infinity or a NaN is returned as it is.
double rans_logarithm(double x);
/// 256 * log2(x), to one unit; 0 counts as a quarter.
int32_t rans_logarithm256(uint32_t x);
/// Puts 256 * log2 in the place of each sum.
void rans_logarithms(uint32_t *sums, size_t n);

#endif
