// Logarithms and powers of two from additions, multiplications and tables. C libraries differ in the last bits of theirs.

#include "logarithms.h"

// The encoder decides in doubles; a fused multiply-add would change its decisions.
#pragma clang fp contract(off)

// round(2^24 * 2^(-i/16)) and round(2^24 * 2^(-i/256)).
static const uint32_t coarse_powers[16] = {
    16777216, 16065917, 15384775, 14732511, 14107901, 13509772, 12937002, 12388516,
    11863283, 11360319, 10878679, 10417458, 9975792, 9552851, 9147842, 8760003,
};
static const uint32_t fine_powers[16] = {
    16777216, 16731851, 16686609, 16641490, 16596492, 16551616, 16506861, 16462228,
    16417715, 16373322, 16329050, 16284897, 16240863, 16196949, 16153153, 16109476,
};

uint32_t rans_power(uint32_t exponent) {
    uint32_t shift = exponent >> 8;
    if (shift > 24) { return 0; }
    uint64_t product = (uint64_t)coarse_powers[exponent >> 4 & 15] * fine_powers[exponent & 15];
    return (uint32_t)((product + (1 << 23)) >> 24) >> shift;
}

// The Taylor series of exp(-y), with y = (fraction of x) * ln 2.
double rans_power_of_half(double x) {
    if (!(x <= 1000)) { return 0; }
    int32_t whole = (int32_t)x;
    double y = (x - whole) * 0.69314718055994531, term = 1, sum = 1;
    for (int i = 1; i < 11; i += 1) {
        term = term * -y / i;
        sum += term;
    }
    for (; whole >= 32; whole -= 32) { sum *= 0x1p-32; }
    return sum / (double)((uint64_t)1 << whole);
}

double rans_logarithm(double x) {
    int exponent = 0;
    if (!(x < 0x1p1023)) { return x; }
    while (x >= 1.4142135623730951) { x *= 0.5; exponent += 1; }
    while (x < 0.70710678118654757) { x *= 2; exponent -= 1; }
    double z = (x - 1) / (x + 1), square = z * z, term = z, sum = 0;
    for (int i = 1; i < 20; i += 2) {
        sum += term / i;
        term *= square;
    }
    return exponent + sum * 2.8853900817779268;
}

int32_t rans_logarithm256(uint32_t x) {
    if (x == 0) { return -512; }
    int32_t exponent = 31 - __builtin_clz(x);
    uint32_t mantissa = (uint32_t)(((uint64_t)x << 32 >> exponent) >> 1);  // 2^31 <= mantissa < 2^32
    int32_t result = exponent;
    for (int i = 0; i < 8; i += 1) {
        uint64_t square = (uint64_t)mantissa * mantissa;  // the square of a number in [1, 2), in units of 2^-62
        int32_t bit = (int32_t)(square >> 63);
        result = 2 * result + bit;
        mantissa = (uint32_t)(square >> (31 + bit));
    }
    return result;
}

void rans_logarithms(uint32_t *sums, size_t n) {
    for (size_t i = 0; i < n; i += 1) { sums[i] = (uint32_t)rans_logarithm256(sums[i]); }
}
