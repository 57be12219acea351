// The table of kernels for the instruction set in use.

#ifndef INGOT_LEVELS_DISPATCH_H
#define INGOT_LEVELS_DISPATCH_H

#include "table.h"

/// The table of kernels for the instruction set in use. The pointer stays valid for the life of the process.
const struct ingot_table *ingot_active_table(void);

#endif
