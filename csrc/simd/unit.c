/* Gathers the vector kernels into one table; built once for each instruction set, which gives the table its name. */
#include "finite.h"
#include "gradient.h"
#include "narrow.h"
#include "norm.h"
#include "normal.h"
#include "products.h"
#include "reflect.h"
#include "single.h"
#include "softmax.h"
#include "triangular.h"
#include "whiten.h"

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
    .add_gradient = add_gradient,
    .row_products = row_products,
    .philox = philox,
    .uniform = uniform,
    .normal = normal,
    .multiply_triangular = multiply_triangular,
    .reflect_rows = reflect_rows,
    .reflect_columns = reflect_columns,
    .add_absolute = add_absolute,
    .narrow_multiple = LANES > TILE_ROWS ? LANES : TILE_ROWS,
    .gather = gather,
    .add_gram = add_gram,
    .factor_columns = factor_columns,
    .solve_lower = solve_lower,
    .solve_transposed = solve_transposed,
    .solve_comparison = solve_comparison,
    .scale_to_single = scale_to_single,
    .add_absolute_single = add_absolute_single,
    .rotate_single = rotate_single,
    .sum_of_squares = sum_of_squares,
    .whitened_squares = whitened_squares,
    .softmax = softmax,
};
