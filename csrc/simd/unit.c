/* Gathers the vector kernels into one table; built once for each instruction set, which gives the table its name. */
#include "finite.h"
#include "norm.h"

#ifndef MOE_UNIT
#error "the build names the table: -DMOE_UNIT=avx2"
#endif
#define QUOTED_EXPANDED(name) #name
#define QUOTED(name) QUOTED_EXPANDED(name)
#define TABLE_EXPANDED(name) moe_unit_##name
#define TABLE(name) TABLE_EXPANDED(name)

const moe_unit TABLE(MOE_UNIT) = {
    .name = QUOTED(MOE_UNIT),
    .all_finite = all_finite,
    .add_absolute = add_absolute,
};
