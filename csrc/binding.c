/* Presents the kernels to Python as moenoise._core; the only file that knows Python and NumPy. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include <float.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "blas.h"
#include "moenoise.h"

_Static_assert(sizeof(npy_intp) == sizeof(ptrdiff_t), "index arrays are passed to the kernels as they are");

/* Every function goes the same way: check the arguments, allocate the outputs and one workspace, run one kernel
 * without the interpreter's lock, turn its status into an exception, release everything at `done`. */

/* ---- checks: exact dtype, native, aligned, C order; the message names the argument ------------------------- */

static const char *type_name(int type)
{
    return type == NPY_DOUBLE ? "float64" : type == NPY_UINT32 ? "uint32" : "intp";
}

static bool check_array(PyObject *object, const char *name, int type, int ndim)
{
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s must be a NumPy array", name);
        return false;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_TYPE(array) != type) {
        PyErr_Format(PyExc_TypeError, "%s must have dtype %s", name, type_name(type));
        return false;
    }
    if (!PyArray_ISCARRAY_RO(array) || !PyArray_ISNOTSWAPPED(array)) {
        PyErr_Format(PyExc_ValueError, "%s must be C-contiguous, aligned and in native byte order", name);
        return false;
    }
    if (PyArray_NDIM(array) != ndim) {
        PyErr_Format(PyExc_ValueError, "%s must have %d dimensions, got %d", name, ndim, PyArray_NDIM(array));
        return false;
    }
    for (int i = 0; i < ndim; i++)
        if (PyArray_DIM(array, i) < 1 || PyArray_DIM(array, i) > INT_MAX) {
            PyErr_Format(PyExc_ValueError, "%s must have dimensions from 1 to %d, got %zd", name, INT_MAX,
                         (Py_ssize_t)PyArray_DIM(array, i));
            return false;
        }
    return true;
}

static bool check_length(PyObject *array, const char *name, int axis, npy_intp length)
{
    const npy_intp actual = PyArray_DIM((PyArrayObject *)array, axis);
    if (actual == length)
        return true;
    PyErr_Format(PyExc_ValueError, "%s must have length %zd along axis %d, got %zd", name, (Py_ssize_t)length, axis,
                 (Py_ssize_t)actual);
    return false;
}

static bool require(bool condition, const char *message)
{
    if (!condition)
        PyErr_SetString(PyExc_ValueError, message);
    return condition;
}

static npy_intp length(PyObject *array, int axis) { return PyArray_DIM((PyArrayObject *)array, axis); }
static double *doubles(PyObject *array) { return PyArray_DATA((PyArrayObject *)array); }
static ptrdiff_t *indices(PyObject *array) { return PyArray_DATA((PyArrayObject *)array); }

static bool check_vector(PyObject *object, const char *name, int type, npy_intp expected)
{
    return check_array(object, name, type, 1) && check_length(object, name, 0, expected);
}

/* O& converters */
static int to_uint64(PyObject *object, void *out)
{
    const unsigned long long value = PyLong_AsUnsignedLongLong(object);
    *(uint64_t *)out = value;
    return !(value == (unsigned long long)-1 && PyErr_Occurred());
}

static int to_uint32(PyObject *object, void *out)
{
    uint64_t wide;
    if (!to_uint64(object, &wide))
        return 0;
    *(uint32_t *)out = (uint32_t)wide;
    return require(wide <= UINT32_MAX, "stream and replicate must be below 2**32");
}

static int to_bool(PyObject *object, void *out)
{
    if (!PyBool_Check(object)) {
        PyErr_SetString(PyExc_TypeError, "hard must be a bool");
        return 0;
    }
    *(bool *)out = object == Py_True;
    return 1;
}

static moe_source make_source(uint64_t key, uint32_t replicate, uint32_t stream)
{
    return (moe_source){{(uint32_t)key, (uint32_t)(key >> 32)}, replicate, stream};
}

/* ---- memory ------------------------------------------------------------------------------------------------ */

static PyObject *new_array(int type, int ndim, npy_intp first, npy_intp second)
{
    npy_intp shape[2] = {first, second};
    return PyArray_SimpleNew(ndim, shape, type);
}

enum { HUGE_PAGE = 1 << 21 };

/* Free with free(). Large ones are asked for in huge pages: they are new to the process at every call. */
static double *new_workspace(size_t count)
{
    void *memory = NULL;
    if (count < PY_SSIZE_T_MAX / sizeof(double)) {
        const size_t size = (count + 1) * sizeof(double);
        if (posix_memalign(&memory, size < HUGE_PAGE ? 64 : HUGE_PAGE, size) != 0)
            memory = NULL;
#ifdef MADV_HUGEPAGE
        else if (size >= HUGE_PAGE)
            madvise(memory, size, MADV_HUGEPAGE);
#endif
    }
    if (memory == NULL)
        PyErr_NoMemory();
    return memory;
}

/* Index arrays are copied and the copies checked: the caller's may be changed by another thread meanwhile. */

/* A checked copy: values in low .. high (exclusive), strictly increasing if asked for. */
static ptrdiff_t *copy_indices(PyObject *array, ptrdiff_t low, ptrdiff_t high, bool increasing, const char *message)
{
    const npy_intp count = length(array, 0);
    ptrdiff_t *copy = PyMem_Malloc((size_t)count * sizeof *copy);
    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(copy, PyArray_DATA((PyArrayObject *)array), (size_t)count * sizeof *copy);
    bool good = true;
    for (npy_intp i = 0; i < count; i++) /* as unsigned numbers what is below `low` is large */
        good &= (size_t)copy[i] - (size_t)low < (size_t)high - (size_t)low;
    for (npy_intp i = 1; increasing && i < count; i++)
        good &= copy[i] > copy[i - 1];
    if (!require(good, message)) {
        PyMem_Free(copy);
        return NULL;
    }
    return copy;
}

static ptrdiff_t *copy_experts(PyObject *expert, npy_intp k)
{
    return copy_indices(expert, 0, k, false, "expert must hold ids in 0..k-1");
}

static ptrdiff_t *copy_sizes(PyObject *sizes, npy_intp n)
{
    if (!check_array(sizes, "sizes", NPY_INTP, 1))
        return NULL;
    return copy_indices(sizes, 1, n + 1, true,
                        "sizes must be increasing, at least 1 and at most the number of rows");
}

/* The blocks' tables, in one piece: sizes at least 1 that sum to d (d < 0: whatever they sum to). */
static bool make_blocks(PyObject *block_sizes, npy_intp d, moe_blocks *blocks, ptrdiff_t **tables)
{
    if (!check_array(block_sizes, "block_sizes", NPY_INTP, 1))
        return false;
    const npy_intp k = length(block_sizes, 0);
    ptrdiff_t *size = PyMem_Malloc((3 * (size_t)k + 2) * sizeof *size), *offset = size + k, *square = offset + k + 1;
    if (size == NULL) {
        PyErr_NoMemory();
        return false;
    }
    *tables = size;
    *blocks = (moe_blocks){.k = k, .size = size, .offset = offset, .square = square};
    memcpy(size, PyArray_DATA((PyArrayObject *)block_sizes), (size_t)k * sizeof *size);
    offset[0] = square[0] = 0;
    for (npy_intp i = 0; i < k; i++) {
        if (!require(size[i] >= 1 && size[i] <= INT_MAX - offset[i],
                     "block_sizes must be positive and sum to below 2**31"))
            return false;
        offset[i + 1] = offset[i] + size[i];
        square[i + 1] = square[i] + size[i] * size[i];
        if (size[i] > blocks->largest)
            blocks->largest = size[i];
    }
    blocks->d = offset[k];
    return require(d < 0 || blocks->d == d, "block_sizes must sum to the number of columns");
}

/* The rows by expert: order (n), start (k + 1) and counts (k) in one piece. */
static ptrdiff_t *make_buckets(PyObject *expert, npy_intp n, npy_intp k, ptrdiff_t **start, ptrdiff_t **counts)
{
    if (!check_vector(expert, "expert", NPY_INTP, n))
        return NULL;
    ptrdiff_t *ids = copy_experts(expert, k);
    ptrdiff_t *order = ids ? PyMem_Malloc((size_t)(n + 2 * k + 1) * sizeof *order) : NULL;
    if (order == NULL) {
        if (ids != NULL)
            PyErr_NoMemory();
        PyMem_Free(ids);
        return NULL;
    }
    *start = order + n;
    *counts = *start + k + 1;
    moe_bucket(ids, n, k, order, *start);
    for (npy_intp i = 0; i < k; i++)
        (*counts)[i] = (*start)[i + 1] - (*start)[i];
    PyMem_Free(ids);
    return order;
}

static bool check_every_expert_has_rows(const ptrdiff_t *counts, npy_intp k)
{
    for (npy_intp i = 0; i < k; i++)
        if (counts[i] == 0) {
            PyErr_Format(PyExc_ValueError, "expert must give every expert rows: expert %zd has none", (Py_ssize_t)i);
            return false;
        }
    return true;
}

/* ---- running without the lock, and Ctrl-C ------------------------------------------------------------------ */

typedef struct {
    PyThreadState *thread;
    struct timespec last;
} watch;

/* Takes the lock back at most every 50 ms to let Python handle signals. */
static int check_signals(void *context)
{
    watch *w = context;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double elapsed =
        (double)(now.tv_sec - w->last.tv_sec) + 1e-9 * (double)(now.tv_nsec - w->last.tv_nsec);
    if (elapsed < 0.05)
        return 0;
    w->last = now;
    PyEval_RestoreThread(w->thread);
    const int stop = PyErr_CheckSignals();
    w->thread = PyEval_SaveThread();
    return stop;
}

/* Gives the lock away; what it returns is for the kernel. */
static moe_interrupt begin(watch *w)
{
    clock_gettime(CLOCK_MONOTONIC, &w->last);
    w->thread = PyEval_SaveThread();
    return (moe_interrupt){check_signals, w};
}

static void end(watch *w)
{
    PyEval_RestoreThread(w->thread);
}

/* The one way from a status to an exception. */
static bool succeeded(moe_status status)
{
    if (status == MOE_OK)
        return true;
    if (status == MOE_INTERRUPTED)
        return false; /* the handler's exception is set */
    if (status == MOE_NOT_POSITIVE_SEMIDEFINITE || status == MOE_NOT_FINITE) {
        PyErr_SetString(PyExc_ValueError, moe_status_message(status));
        return false;
    }
    PyObject *linalg = PyImport_ImportModule("numpy.linalg");
    PyObject *error = linalg ? PyObject_GetAttrString(linalg, "LinAlgError") : NULL;
    if (error != NULL)
        PyErr_SetString(error, moe_status_message(status));
    Py_XDECREF(error);
    Py_XDECREF(linalg);
    return false;
}

/* ---- instruction sets --------------------------------------------------------------------------------------- */

static PyObject *core_instruction_set(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyUnicode_FromString(moe_instruction_set_in_use());
}

static PyObject *core_instruction_sets(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyObject *names = PyList_New(0), *result = NULL;
    const char *name;
    for (int i = 0; names != NULL && (name = moe_instruction_set(i)) != NULL; i++) {
        PyObject *entry = PyUnicode_FromString(name);
        if (entry == NULL || PyList_Append(names, entry) < 0)
            Py_CLEAR(names);
        Py_XDECREF(entry);
    }
    if (names != NULL)
        result = PyList_AsTuple(names);
    Py_XDECREF(names);
    return result;
}

/* Lets MOENOISE_ISA choose among them; without it the best one is taken. */
static bool choose_instruction_set(void)
{
    const char *wanted = getenv("MOENOISE_ISA");
    if (wanted != NULL && *wanted == 0)
        wanted = NULL;
    if (moe_use_instruction_set(wanted))
        return true;
    PyObject *names = core_instruction_sets(NULL, NULL);
    if (names != NULL)
        PyErr_Format(PyExc_ImportError, "MOENOISE_ISA must be one of %R on this CPU, got '%s'", names, wanted);
    Py_XDECREF(names);
    return false;
}

static PyObject *core_all_finite(PyObject *module, PyObject *array)
{
    (void)module;
    if (!PyArray_Check(array) || PyArray_TYPE((PyArrayObject *)array) != NPY_DOUBLE ||
        !PyArray_ISCARRAY_RO((PyArrayObject *)array)) {
        PyErr_SetString(PyExc_TypeError, "array must be a C-contiguous NumPy array of dtype float64");
        return NULL;
    }
    const double *data = doubles(array);
    const npy_intp count = PyArray_SIZE((PyArrayObject *)array);
    int finite;
    Py_BEGIN_ALLOW_THREADS
    finite = moe_all_finite(data, count);
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(finite);
}

/* ---- random numbers ---------------------------------------------------------------------------------------- */

static PyObject *core_philox4x32(PyObject *module, PyObject *args)
{
    PyObject *counter, *key, *out = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &counter, &key))
        return NULL;
    if (!check_array(counter, "counter", NPY_UINT32, 2) || !check_length(counter, "counter", 1, 4) ||
        !check_array(key, "key", NPY_UINT32, 2) || !check_length(key, "key", 1, 2) ||
        !check_length(key, "key", 0, length(counter, 0)))
        return NULL;
    const npy_intp count = length(counter, 0);
    out = new_array(NPY_UINT32, 2, count, 4);
    if (out == NULL)
        return NULL;
    const uint32_t *c = PyArray_DATA((PyArrayObject *)counter), *k = PyArray_DATA((PyArrayObject *)key);
    uint32_t *o = PyArray_DATA((PyArrayObject *)out);
    Py_BEGIN_ALLOW_THREADS
    for (npy_intp i = 0; i < count; i++)
        moe_philox(c + 4 * i, k + 2 * i, o + 4 * i);
    Py_END_ALLOW_THREADS
    return out;
}

typedef void (*fill_function)(moe_source, uint64_t, ptrdiff_t, double *);

static PyObject *fill(PyObject *args, fill_function function)
{
    enum { STEP = 1 << 20 };
    uint64_t key, first;
    uint32_t stream, replicate;
    Py_ssize_t count;
    moe_status status = MOE_OK;
    if (!PyArg_ParseTuple(args, "O&O&O&O&n", to_uint64, &key, to_uint32, &stream, to_uint32, &replicate, to_uint64,
                          &first, &count))
        return NULL;
    if (!require(count >= 0, "count must not be negative"))
        return NULL;
    PyObject *out = new_array(NPY_DOUBLE, 1, count, 0);
    if (out == NULL)
        return NULL;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    for (Py_ssize_t done = 0; done < count && status == MOE_OK; done += STEP) {
        function(make_source(key, replicate, stream), first + (uint64_t)done,
                 count - done < STEP ? count - done : STEP, doubles(out) + done);
        status = moe_stop(&interrupt) ? MOE_INTERRUPTED : MOE_OK;
    }
    end(&w);
    if (!succeeded(status))
        Py_CLEAR(out);
    return out;
}

static PyObject *core_standard_normal(PyObject *module, PyObject *args)
{
    (void)module;
    return fill(args, moe_normal);
}

static PyObject *core_uniform(PyObject *module, PyObject *args)
{
    (void)module;
    return fill(args, moe_uniform);
}

/* ---- designs ----------------------------------------------------------------------------------------------- */

static PyObject *core_balanced_assignment(PyObject *module, PyObject *args)
{
    PyObject *probabilities, *expert = NULL;
    Py_ssize_t n;
    double *work = NULL;
    moe_status status;
    bool good = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "On", &probabilities, &n))
        return NULL;
    if (!check_array(probabilities, "probabilities", NPY_DOUBLE, 1) || !require(n >= 1, "n must be at least 1"))
        return NULL;
    const npy_intp k = length(probabilities, 0);
    double sum = 0.0;
    for (npy_intp i = 0; i < k; i++) {
        if (!require(doubles(probabilities)[i] > 0.0, "probabilities must be positive"))
            return NULL;
        sum += doubles(probabilities)[i];
    }
    if (!require(sum > 1.0 - 1e-9 && sum < 1.0 + 1e-9, "probabilities must sum to 1"))
        return NULL;
    expert = new_array(NPY_INTP, 1, n, 0);
    work = new_workspace(moe_balance_workspace(k));
    if (expert == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    status = moe_balance(doubles(probabilities), k, n, indices(expert), work, &interrupt);
    end(&w);
    good = succeeded(status);
done:
    free(work);
    if (!good)
        Py_CLEAR(expert);
    return expert;
}

static PyObject *core_psd_factor(PyObject *module, PyObject *args)
{
    PyObject *covariance, *factor = NULL, *permutation = NULL, *result = NULL;
    double *work = NULL;
    ptrdiff_t rank;
    (void)module;
    if (!PyArg_ParseTuple(args, "O", &covariance))
        return NULL;
    if (!check_array(covariance, "covariance", NPY_DOUBLE, 2) ||
        !check_length(covariance, "covariance", 1, length(covariance, 0)))
        return NULL;
    const npy_intp m = length(covariance, 0);
    factor = new_array(NPY_DOUBLE, 2, m, m);
    permutation = new_array(NPY_INTP, 1, m, 0);
    work = new_workspace(moe_psd_factor_workspace(m));
    if (factor == NULL || permutation == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status =
        moe_psd_factor(doubles(covariance), m, doubles(factor), indices(permutation), &rank, work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = Py_BuildValue("OOn", factor, permutation, (Py_ssize_t)rank);
done:
    free(work);
    Py_XDECREF(factor);
    Py_XDECREF(permutation);
    return result;
}

static PyObject *core_block_design(PyObject *module, PyObject *args)
{
    PyObject *expert, *block_sizes, *factors, *permutations, *coef;
    PyObject *features = NULL, *response = NULL, *result = NULL;
    uint64_t key, first_row;
    uint32_t replicate, signal, noise;
    double deviation, *work = NULL;
    moe_blocks blocks;
    ptrdiff_t *tables = NULL, *ids = NULL, *perm = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "O&O&O&O&O&OOOOOd", to_uint64, &key, to_uint32, &replicate, to_uint32, &signal,
                          to_uint32, &noise, to_uint64, &first_row, &expert, &block_sizes, &factors, &permutations,
                          &coef, &deviation))
        return NULL;
    if (!make_blocks(block_sizes, -1, &blocks, &tables) || !check_array(expert, "expert", NPY_INTP, 1) ||
        !check_vector(factors, "factors", NPY_DOUBLE, blocks.square[blocks.k]) ||
        !check_vector(permutations, "permutations", NPY_INTP, blocks.d) ||
        !check_vector(coef, "coef", NPY_DOUBLE, blocks.d) ||
        !require(deviation >= 0.0 && deviation <= DBL_MAX, "noise_deviation must be finite and not negative"))
        goto done;
    ids = copy_experts(expert, blocks.k);
    if (ids != NULL)
        perm = copy_indices(permutations, 0, blocks.d, false, "permutations must hold indices within their block");
    if (perm == NULL)
        goto done;
    for (npy_intp i = 0; i < blocks.k; i++)
        for (npy_intp j = blocks.offset[i]; j < blocks.offset[i + 1]; j++)
            if (!require(perm[j] < blocks.size[i], "permutations must hold indices within their block"))
                goto done;
    const npy_intp n = length(expert, 0);
    features = new_array(NPY_DOUBLE, 2, n, blocks.d);
    response = new_array(NPY_DOUBLE, 1, n, 0);
    work = new_workspace(moe_design_workspace(&blocks));
    if (features == NULL || response == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status =
        moe_design(&blocks, doubles(factors), perm, doubles(coef), deviation,
                   make_source(key, replicate, signal), make_source(key, replicate, noise), ids,
                   first_row, n, doubles(features), doubles(response), work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = PyTuple_Pack(2, features, response);
done:
    free(work);
    PyMem_Free(ids);
    PyMem_Free(perm);
    PyMem_Free(tables);
    Py_XDECREF(features);
    Py_XDECREF(response);
    return result;
}

static PyObject *core_spectral_block(PyObject *module, PyObject *args)
{
    PyObject *singular_values, *out = NULL;
    uint64_t key;
    uint32_t replicate, left, right;
    Py_ssize_t n, d;
    double *work = NULL;
    bool good = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "O&O&O&O&Onn", to_uint64, &key, to_uint32, &replicate, to_uint32, &left, to_uint32,
                          &right, &singular_values, &n, &d))
        return NULL;
    if (!require(n >= 1 && n <= INT_MAX && d >= 1 && d <= INT_MAX, "n and d must be from 1 to 2**31 - 1") ||
        !check_vector(singular_values, "singular_values", NPY_DOUBLE, n < d ? n : d))
        return NULL;
    out = new_array(NPY_DOUBLE, 2, n, d);
    work = new_workspace(moe_spectral_workspace(n, d));
    if (out == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_spectral(doubles(singular_values), n, d, make_source(key, replicate, left),
                                           make_source(key, replicate, right), doubles(out), work, &interrupt);
    end(&w);
    good = succeeded(status);
done:
    free(work);
    if (!good)
        Py_CLEAR(out);
    return out;
}

/* ---- least squares ----------------------------------------------------------------------------------------- */

static bool check_method(int method, double rcond)
{
    return require(method >= MOE_AUTO && method <= MOE_SVD, "method must be one of the METHOD_ codes") &&
           require(rcond < 1.0, "rcond must be below 1");
}

static PyObject *core_lstsq(PyObject *module, PyObject *args)
{
    PyObject *X, *Y, *coef = NULL, *result = NULL;
    double rcond, *work = NULL;
    int method;
    ptrdiff_t rank = 0, used = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOdi", &X, &Y, &rcond, &method))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !check_array(Y, "Y", NPY_DOUBLE, 2) ||
        !check_length(Y, "Y", 0, length(X, 0)) || !check_method(method, rcond))
        return NULL;
    const npy_intp n = length(X, 0), d = length(X, 1), m = length(Y, 1);
    coef = new_array(NPY_DOUBLE, 2, d, m);
    work = new_workspace(moe_lstsq_workspace(n, d, m, (moe_method)method));
    if (coef == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_lstsq(doubles(X), doubles(Y), n, d, m, rcond, (moe_method)method, doubles(coef),
                                        &rank, &used, work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = Py_BuildValue("Onn", coef, (Py_ssize_t)rank, (Py_ssize_t)used);
done:
    free(work);
    Py_XDECREF(coef);
    return result;
}

static PyObject *core_block_lstsq(PyObject *module, PyObject *args)
{
    PyObject *X, *Y, *expert, *block_sizes;
    PyObject *coef = NULL, *rank = NULL, *used = NULL, *result = NULL;
    double rcond, *work = NULL;
    int method;
    moe_blocks blocks;
    ptrdiff_t *tables = NULL, *order = NULL, *start, *counts;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOdi", &X, &Y, &expert, &block_sizes, &rcond, &method))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !check_array(Y, "Y", NPY_DOUBLE, 2) ||
        !check_length(Y, "Y", 0, length(X, 0)) || !make_blocks(block_sizes, length(X, 1), &blocks, &tables) ||
        !check_method(method, rcond))
        goto done;
    const npy_intp n = length(X, 0), m = length(Y, 1);
    order = make_buckets(expert, n, blocks.k, &start, &counts);
    if (order == NULL || !check_every_expert_has_rows(counts, blocks.k))
        goto done;
    coef = new_array(NPY_DOUBLE, 2, blocks.d, m);
    rank = new_array(NPY_INTP, 1, blocks.k, 0);
    used = new_array(NPY_INTP, 1, blocks.k, 0);
    work = new_workspace(moe_block_lstsq_workspace(&blocks, counts, m, (moe_method)method));
    if (coef == NULL || rank == NULL || used == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status =
        moe_block_lstsq(doubles(X), doubles(Y), &blocks, order, start, m, rcond, (moe_method)method, doubles(coef),
                        indices(rank), indices(used), work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = PyTuple_Pack(3, coef, rank, used);
done:
    free(work);
    PyMem_Free(order);
    PyMem_Free(tables);
    Py_XDECREF(coef);
    Py_XDECREF(rank);
    Py_XDECREF(used);
    return result;
}

static PyObject *core_learning_curve(PyObject *module, PyObject *args)
{
    PyObject *X, *y, *sizes, *coef = NULL;
    double *work = NULL;
    ptrdiff_t *checked_sizes = NULL;
    bool good = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &X, &y, &sizes))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !check_vector(y, "y", NPY_DOUBLE, length(X, 0)))
        return NULL;
    checked_sizes = copy_sizes(sizes, length(X, 0));
    if (checked_sizes == NULL)
        return NULL;
    const npy_intp d = length(X, 1), n_sizes = length(sizes, 0), n = checked_sizes[n_sizes - 1];
    coef = new_array(NPY_DOUBLE, 2, n_sizes, d);
    work = new_workspace(moe_curve_workspace(n, d, n_sizes));
    if (coef == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status =
        moe_curve(doubles(X), doubles(y), d, checked_sizes, n_sizes, doubles(coef), work, &interrupt);
    end(&w);
    good = succeeded(status);
done:
    free(work);
    PyMem_Free(checked_sizes);
    if (!good)
        Py_CLEAR(coef);
    return coef;
}

static PyObject *core_block_learning_curve(PyObject *module, PyObject *args)
{
    PyObject *X, *y, *expert, *block_sizes, *sizes, *coef = NULL;
    double *work = NULL;
    moe_blocks blocks;
    ptrdiff_t *tables = NULL, *order = NULL, *start, *counts, *checked_sizes = NULL;
    bool good = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO", &X, &y, &expert, &block_sizes, &sizes))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !check_vector(y, "y", NPY_DOUBLE, length(X, 0)) ||
        !make_blocks(block_sizes, length(X, 1), &blocks, &tables))
        goto done;
    order = make_buckets(expert, length(X, 0), blocks.k, &start, &counts);
    checked_sizes = order ? copy_sizes(sizes, length(X, 0)) : NULL;
    if (checked_sizes == NULL)
        goto done;
    const npy_intp n_sizes = length(sizes, 0);
    coef = new_array(NPY_DOUBLE, 2, n_sizes, blocks.d);
    work = new_workspace(moe_block_curve_workspace(&blocks, counts, n_sizes));
    if (coef == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_block_curve(doubles(X), doubles(y), &blocks, order, start, checked_sizes, n_sizes,
                                              doubles(coef), work, &interrupt);
    end(&w);
    good = succeeded(status);
done:
    free(work);
    PyMem_Free(order);
    PyMem_Free(checked_sizes);
    PyMem_Free(tables);
    if (!good)
        Py_CLEAR(coef);
    return coef;
}

/* ---- gradient descent -------------------------------------------------------------------------------------- */

static bool check_problem(PyObject *X, PyObject *y, PyObject *coef)
{
    return check_array(X, "X", NPY_DOUBLE, 2) && check_vector(y, "y", NPY_DOUBLE, length(X, 0)) &&
           check_vector(coef, "coef", NPY_DOUBLE, length(X, 1));
}

static PyObject *core_gradient(PyObject *module, PyObject *args)
{
    PyObject *X, *y, *coef, *gradient = NULL;
    double *work = NULL, residual2;
    bool good = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &X, &y, &coef) || !check_problem(X, y, coef))
        return NULL;
    const npy_intp n = length(X, 0), d = length(X, 1);
    gradient = new_array(NPY_DOUBLE, 1, d, 0);
    work = new_workspace(moe_gradient_workspace(n, d));
    if (gradient == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_gradient(doubles(X), doubles(y), doubles(coef), n, d, doubles(gradient),
                                           &residual2, work, &interrupt);
    end(&w);
    good = succeeded(status);
done:
    free(work);
    if (!good)
        Py_CLEAR(gradient);
    return gradient;
}

/* A copy of where to start, to be moved. */
static PyObject *copy_start(PyObject *start)
{
    PyObject *coef = new_array(NPY_DOUBLE, 1, length(start, 0), 0);
    if (coef != NULL)
        memcpy(doubles(coef), doubles(start), (size_t)length(start, 0) * sizeof(double));
    return coef;
}

/* The norms of the steps that were made. */
static PyObject *copy_norms(const double *norms, ptrdiff_t steps)
{
    PyObject *copy = new_array(NPY_DOUBLE, 1, steps + 1, 0);
    if (copy != NULL)
        memcpy(doubles(copy), norms, (size_t)(steps + 1) * sizeof(double));
    return copy;
}

static PyObject *core_gradient_descent(PyObject *module, PyObject *args)
{
    PyObject *X, *y, *start, *coef = NULL, *norms = NULL, *result = NULL;
    Py_ssize_t steps;
    ptrdiff_t done_steps;
    double step_size, bound, slope, *work = NULL, *trace = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOndd", &X, &y, &start, &steps, &step_size, &bound) ||
        !check_problem(X, y, start) || !require(steps >= 0 && steps < PY_SSIZE_T_MAX, "steps must not be negative"))
        return NULL;
    const npy_intp n = length(X, 0), d = length(X, 1);
    coef = copy_start(start);
    trace = new_workspace((size_t)steps + 1);
    work = new_workspace(moe_descent_workspace(n, d));
    if (coef == NULL || trace == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_descent(doubles(X), doubles(y), n, d, steps, step_size, bound, doubles(coef), trace,
                                          &done_steps, &slope, work, &interrupt);
    end(&w);
    if (succeeded(status) && (norms = copy_norms(trace, done_steps)) != NULL)
        result = Py_BuildValue("(OOd)", coef, norms, slope);
done:
    free(work);
    free(trace);
    Py_XDECREF(coef);
    Py_XDECREF(norms);
    return result;
}

static PyObject *core_tridiagonal(PyObject *module, PyObject *X)
{
    PyObject *reflectors = NULL, *tridiagonal = NULL, *result = NULL;
    double *work = NULL;
    (void)module;
    if (!check_array(X, "X", NPY_DOUBLE, 2))
        return NULL;
    const npy_intp n = length(X, 0), d = length(X, 1), s = n < d ? n : d;
    reflectors = new_array(NPY_DOUBLE, 2, s, s);
    tridiagonal = new_array(NPY_DOUBLE, 2, 3, s);
    work = new_workspace(moe_tridiagonal_workspace(n, d));
    if (reflectors == NULL || tridiagonal == NULL || work == NULL)
        goto done;
    double *rows = doubles(tridiagonal);
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_tridiagonal(doubles(X), n, d, doubles(reflectors), rows, rows + s, rows + 2 * s,
                                              work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = PyTuple_Pack(2, reflectors, tridiagonal);
done:
    free(work);
    Py_XDECREF(reflectors);
    Py_XDECREF(tridiagonal);
    return result;
}

static PyObject *core_reduced_descent(PyObject *module, PyObject *args)
{
    PyObject *X, *y, *start, *reflectors, *tridiagonal, *coef = NULL, *norms = NULL, *result = NULL;
    Py_ssize_t steps;
    ptrdiff_t done_steps;
    double step_size, bound, *work = NULL, *trace = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOnddOO", &X, &y, &start, &steps, &step_size, &bound, &reflectors, &tridiagonal) ||
        !check_problem(X, y, start) || !require(steps >= 0 && steps < PY_SSIZE_T_MAX, "steps must not be negative"))
        return NULL;
    const npy_intp n = length(X, 0), d = length(X, 1), s = n < d ? n : d;
    if (!check_array(reflectors, "reflectors", NPY_DOUBLE, 2) || !check_length(reflectors, "reflectors", 0, s) ||
        !check_length(reflectors, "reflectors", 1, s) || !check_array(tridiagonal, "tridiagonal", NPY_DOUBLE, 2) ||
        !check_length(tridiagonal, "tridiagonal", 0, 3) || !check_length(tridiagonal, "tridiagonal", 1, s))
        return NULL;
    coef = copy_start(start);
    trace = new_workspace((size_t)steps + 1);
    work = new_workspace(moe_reduced_descent_workspace(n, d));
    if (coef == NULL || trace == NULL || work == NULL)
        goto done;
    const double *rows = doubles(tridiagonal);
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_reduced_descent(
        doubles(X), doubles(y), n, d, doubles(reflectors), rows, rows + s, rows + 2 * s, steps, step_size, bound,
        doubles(coef), trace, &done_steps, work, &interrupt);
    end(&w);
    if (succeeded(status) && (norms = copy_norms(trace, done_steps)) != NULL)
        result = PyTuple_Pack(2, coef, norms);
done:
    free(work);
    free(trace);
    Py_XDECREF(coef);
    Py_XDECREF(norms);
    return result;
}

/* ---- routing ----------------------------------------------------------------------------------------------- */

static PyObject *core_block_covariance(PyObject *module, PyObject *args)
{
    PyObject *X, *expert, *block_sizes, *covariances = NULL, *counts = NULL, *result = NULL;
    double *work = NULL, off_block;
    moe_blocks blocks;
    ptrdiff_t *tables = NULL, *ids = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &X, &expert, &block_sizes))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !make_blocks(block_sizes, length(X, 1), &blocks, &tables) ||
        !check_vector(expert, "expert", NPY_INTP, length(X, 0)))
        goto done;
    const npy_intp n = length(X, 0);
    ids = copy_experts(expert, blocks.k);
    covariances = ids ? new_array(NPY_DOUBLE, 1, blocks.square[blocks.k], 0) : NULL;
    counts = covariances ? new_array(NPY_INTP, 1, blocks.k, 0) : NULL;
    if (counts == NULL)
        goto done;
    memset(indices(counts), 0, (size_t)blocks.k * sizeof(ptrdiff_t));
    for (npy_intp r = 0; r < n; r++)
        indices(counts)[ids[r]]++;
    work = check_every_expert_has_rows(indices(counts), blocks.k) ? new_workspace(moe_covariance_workspace(&blocks))
                                                                  : NULL;
    if (work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_covariance(doubles(X), n, &blocks, ids, indices(counts), doubles(covariances),
                                             &off_block, work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = Py_BuildValue("OOd", covariances, counts, off_block);
done:
    free(work);
    PyMem_Free(ids);
    PyMem_Free(tables);
    Py_XDECREF(covariances);
    Py_XDECREF(counts);
    return result;
}

static PyObject *core_qda_factor(PyObject *module, PyObject *args)
{
    PyObject *covariances, *block_sizes, *factors = NULL, *log_determinants = NULL, *result = NULL;
    moe_blocks blocks;
    ptrdiff_t *tables = NULL, failed = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &covariances, &block_sizes))
        return NULL;
    if (!make_blocks(block_sizes, -1, &blocks, &tables) ||
        !check_vector(covariances, "covariances", NPY_DOUBLE, blocks.square[blocks.k]))
        goto done;
    factors = new_array(NPY_DOUBLE, 1, blocks.square[blocks.k], 0);
    log_determinants = new_array(NPY_DOUBLE, 1, blocks.k, 0);
    if (factors == NULL || log_determinants == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_qda_factor(doubles(covariances), &blocks, doubles(factors),
                                             doubles(log_determinants), &failed, &interrupt);
    end(&w);
    if (status == MOE_NOT_POSITIVE_DEFINITE)
        PyErr_Format(PyExc_ValueError, "the covariance of expert %zd is not positive definite", (Py_ssize_t)failed);
    else if (succeeded(status))
        result = PyTuple_Pack(2, factors, log_determinants);
done:
    PyMem_Free(tables);
    Py_XDECREF(factors);
    Py_XDECREF(log_determinants);
    return result;
}

static bool check_gate(PyObject *factors, PyObject *constants, double noise_precision, const moe_blocks *blocks,
                       moe_gate *gate)
{
    if (!check_vector(factors, "inverse_factors", NPY_DOUBLE, blocks->square[blocks->k]) ||
        !check_vector(constants, "constants", NPY_DOUBLE, blocks->k))
        return false;
    *gate = (moe_gate){doubles(factors), doubles(constants), noise_precision};
    return true;
}

static PyObject *core_qda_scores(PyObject *module, PyObject *args)
{
    PyObject *X, *block_sizes, *factors, *constants, *scores = NULL;
    double precision, *work = NULL;
    moe_blocks blocks;
    moe_gate gate;
    ptrdiff_t *tables = NULL;
    bool good = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOd", &X, &block_sizes, &factors, &constants, &precision))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !make_blocks(block_sizes, length(X, 1), &blocks, &tables) ||
        !check_gate(factors, constants, precision, &blocks, &gate))
        goto done;
    const npy_intp n = length(X, 0);
    scores = new_array(NPY_DOUBLE, 2, n, blocks.k);
    work = new_workspace(moe_qda_scores_workspace(&blocks));
    if (scores == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_qda_scores(doubles(X), n, &blocks, &gate, doubles(scores), work, &interrupt);
    end(&w);
    good = succeeded(status);
done:
    free(work);
    PyMem_Free(tables);
    if (!good)
        Py_CLEAR(scores);
    return scores;
}

/* ---- mixtures of linear experts ---------------------------------------------------------------------------- */

static bool check_table(PyObject *object, const char *name, npy_intp rows, npy_intp columns)
{
    return check_array(object, name, NPY_DOUBLE, 2) && check_length(object, name, 0, rows) &&
           check_length(object, name, 1, columns);
}

/* The number of responses is that of the intercepts' columns (m < 0), or given; spreads may be None. */
static bool check_linear_experts(PyObject *coef, PyObject *intercepts, PyObject *spreads, npy_intp m,
                                 const moe_blocks *blocks, moe_experts *experts)
{
    if (!check_array(intercepts, "intercepts", NPY_DOUBLE, 2))
        return false;
    if (m < 0)
        m = length(intercepts, 1);
    if (!check_table(intercepts, "intercepts", blocks->k, m) ||
        !check_vector(coef, "coef", NPY_DOUBLE, m * blocks->d) ||
        (spreads != Py_None && !check_table(spreads, "spreads", blocks->k, m)))
        return false;
    *experts = (moe_experts){m, doubles(coef), doubles(intercepts), spreads == Py_None ? NULL : doubles(spreads)};
    return true;
}

/* The outputs of a prediction: the variance is None without spreads. */
static bool new_prediction(npy_intp n, const moe_experts *experts, PyObject **response, PyObject **variance)
{
    *response = new_array(NPY_DOUBLE, 2, n, experts->m);
    *variance = experts->spreads == NULL ? Py_NewRef(Py_None) : new_array(NPY_DOUBLE, 2, n, experts->m);
    return *response != NULL && *variance != NULL;
}

static PyObject *core_mixture_predict(PyObject *module, PyObject *args)
{
    PyObject *X, *block_sizes, *factors, *constants, *coef, *intercepts, *spreads;
    PyObject *response = NULL, *variance = NULL, *result = NULL;
    double precision, *work = NULL;
    bool hard;
    moe_blocks blocks;
    moe_gate gate;
    moe_experts experts;
    ptrdiff_t *tables = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOdOOOO&", &X, &block_sizes, &factors, &constants, &precision, &coef, &intercepts,
                          &spreads, to_bool, &hard))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !make_blocks(block_sizes, length(X, 1), &blocks, &tables) ||
        !check_gate(factors, constants, precision, &blocks, &gate) ||
        !check_linear_experts(coef, intercepts, spreads, -1, &blocks, &experts) ||
        !new_prediction(length(X, 0), &experts, &response, &variance))
        goto done;
    work = new_workspace(moe_mixture_predict_workspace(&blocks, experts.m));
    if (work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status =
        moe_mixture_predict(doubles(X), length(X, 0), &blocks, &gate, &experts, hard, doubles(response),
                            experts.spreads == NULL ? NULL : doubles(variance), work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = PyTuple_Pack(2, response, variance);
done:
    free(work);
    PyMem_Free(tables);
    Py_XDECREF(response);
    Py_XDECREF(variance);
    return result;
}

static PyObject *core_combine_experts(PyObject *module, PyObject *args)
{
    PyObject *X, *block_sizes, *posterior, *coef, *intercepts, *spreads;
    PyObject *response = NULL, *variance = NULL, *result = NULL;
    double *work = NULL;
    bool hard;
    moe_blocks blocks;
    moe_experts experts;
    ptrdiff_t *tables = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOOO&", &X, &block_sizes, &posterior, &coef, &intercepts, &spreads, to_bool,
                          &hard))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !make_blocks(block_sizes, length(X, 1), &blocks, &tables) ||
        !check_table(posterior, "posterior", length(X, 0), blocks.k) ||
        !check_linear_experts(coef, intercepts, spreads, -1, &blocks, &experts) ||
        !new_prediction(length(X, 0), &experts, &response, &variance))
        goto done;
    work = new_workspace(moe_combine_experts_workspace(&blocks, experts.m));
    if (work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status =
        moe_combine_experts(doubles(X), length(X, 0), &blocks, doubles(posterior), &experts, hard, doubles(response),
                            experts.spreads == NULL ? NULL : doubles(variance), work, &interrupt);
    end(&w);
    if (succeeded(status))
        result = PyTuple_Pack(2, response, variance);
done:
    free(work);
    PyMem_Free(tables);
    Py_XDECREF(response);
    Py_XDECREF(variance);
    return result;
}

static PyObject *new_moments(const moe_blocks *blocks, npy_intp m)
{
    const size_t size = moe_moments_size(blocks, m);
    return size < PY_SSIZE_T_MAX / sizeof(double) ? new_array(NPY_DOUBLE, 1, (npy_intp)size, 0) : PyErr_NoMemory();
}

static PyObject *core_mixture_moments(PyObject *module, PyObject *args)
{
    PyObject *X, *Y, *block_sizes, *factors, *constants, *coef, *intercepts, *response_factors;
    PyObject *moments = NULL, *posterior = NULL, *result = NULL;
    double precision, log_likelihood, *work = NULL;
    moe_blocks blocks;
    moe_gate gate;
    moe_experts experts;
    ptrdiff_t *tables = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOdOOO", &X, &Y, &block_sizes, &factors, &constants, &precision, &coef,
                          &intercepts, &response_factors))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !check_array(Y, "Y", NPY_DOUBLE, 2) ||
        !check_length(Y, "Y", 0, length(X, 0)) || !make_blocks(block_sizes, length(X, 1), &blocks, &tables) ||
        !check_gate(factors, constants, precision, &blocks, &gate) ||
        !check_linear_experts(coef, intercepts, Py_None, length(Y, 1), &blocks, &experts) ||
        !check_array(response_factors, "response_factors", NPY_DOUBLE, 3) ||
        !check_length(response_factors, "response_factors", 0, blocks.k) ||
        !check_length(response_factors, "response_factors", 1, experts.m) ||
        !check_length(response_factors, "response_factors", 2, experts.m))
        goto done;
    moments = new_moments(&blocks, experts.m);
    posterior = new_array(NPY_DOUBLE, 2, length(X, 0), blocks.k);
    work = new_workspace(moe_mixture_moments_workspace(&blocks, experts.m));
    if (moments == NULL || posterior == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status =
        moe_mixture_moments(doubles(X), doubles(Y), length(X, 0), &blocks, &gate, &experts,
                            doubles(response_factors), doubles(moments), doubles(posterior), &log_likelihood, work,
                            &interrupt);
    end(&w);
    if (succeeded(status))
        result = Py_BuildValue("OOd", moments, posterior, log_likelihood);
done:
    free(work);
    PyMem_Free(tables);
    Py_XDECREF(moments);
    Py_XDECREF(posterior);
    return result;
}

static PyObject *core_weighted_moments(PyObject *module, PyObject *args)
{
    PyObject *X, *Y, *posterior, *block_sizes, *moments = NULL;
    double *work = NULL;
    moe_blocks blocks;
    ptrdiff_t *tables = NULL;
    bool good = false;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOO", &X, &Y, &posterior, &block_sizes))
        return NULL;
    if (!check_array(X, "X", NPY_DOUBLE, 2) || !check_array(Y, "Y", NPY_DOUBLE, 2) ||
        !check_length(Y, "Y", 0, length(X, 0)) || !make_blocks(block_sizes, length(X, 1), &blocks, &tables) ||
        !check_table(posterior, "posterior", length(X, 0), blocks.k))
        goto done;
    moments = new_moments(&blocks, length(Y, 1));
    work = new_workspace(moe_weighted_moments_workspace(&blocks, length(Y, 1)));
    if (moments == NULL || work == NULL)
        goto done;
    watch w;
    const moe_interrupt interrupt = begin(&w);
    const moe_status status = moe_weighted_moments(doubles(X), doubles(Y), length(X, 0), length(Y, 1), &blocks,
                                                   doubles(posterior), doubles(moments), work, &interrupt);
    end(&w);
    good = succeeded(status);
done:
    free(work);
    PyMem_Free(tables);
    if (!good)
        Py_CLEAR(moments);
    return moments;
}

/* ---- the module -------------------------------------------------------------------------------------------- */

static PyObject *core_blas_info(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return Py_BuildValue("(ss)", blas_get_config(), blas_get_corename());
}

#define ENTRY(name, signature) {#name, core_##name, METH_VARARGS, #name signature}

static PyMethodDef methods[] = {
    ENTRY(philox4x32, "(counter, key)\n--\n\nPhilox4x32-10 of each row's counter (m, 4) and key (m, 2)."),
    ENTRY(standard_normal, "(key, stream, replicate, first, count)\n--\n\nA stretch of a source's normals."),
    ENTRY(uniform, "(key, stream, replicate, first, count)\n--\n\nA stretch of a source's uniforms in [0, 1)."),
    ENTRY(balanced_assignment, "(probabilities, n)\n--\n\nExperts of n rows, balanced at every prefix."),
    ENTRY(psd_factor, "(covariance)\n--\n\n(factor, permutation, rank) of a positive semidefinite matrix."),
    ENTRY(block_design, "(key, replicate, signal, noise, first_row, expert, block_sizes, factors, permutations, coef, "
                        "noise_deviation)\n--\n\n(features, response) of a noisy block design."),
    ENTRY(spectral_block, "(key, replicate, left, right, singular_values, n, d)\n--\n\nA matrix of given spectrum."),
    ENTRY(lstsq, "(X, Y, rcond, method)\n--\n\n(coef, rank, method used) of the minimum-norm fit."),
    ENTRY(block_lstsq, "(X, Y, expert, block_sizes, rcond, method)\n--\n\n(coef, ranks, methods) of the experts."),
    ENTRY(learning_curve, "(X, y, sizes)\n--\n\nThe minimum-norm fits of the first n rows, for each n of sizes."),
    ENTRY(block_learning_curve, "(X, y, expert, block_sizes, sizes)\n--\n\nThe experts' fits, for each n of sizes."),
    ENTRY(gradient, "(X, y, coef)\n--\n\nX'(X coef - y)."),
    ENTRY(gradient_descent, "(X, y, coef, steps, step_size, bound)\n--\n\n(coef, residual norms, gradient norm)."),
    {"tridiagonal", core_tridiagonal, METH_O,
     "tridiagonal(X)\n--\n\n(reflectors, rows) of XX' or X'X, the smaller one, in tridiagonal form; the rows are its "
     "diagonal, the entries beside it, and the reflectors' scales."},
    ENTRY(reduced_descent, "(X, y, coef, steps, step_size, bound, reflectors, rows)\n--\n\n(coef, residual norms) of "
                           "gradient descent in tridiagonal form, as far as that agrees with X."),
    ENTRY(block_covariance, "(X, expert, block_sizes)\n--\n\n(covariances, counts, off-block sum of squares)."),
    ENTRY(qda_factor, "(covariances, block_sizes)\n--\n\n(inverse factors, log determinants)."),
    ENTRY(qda_scores, "(X, block_sizes, inverse_factors, constants, noise_precision)\n--\n\nScores (n, k)."),
    ENTRY(mixture_predict, "(X, block_sizes, inverse_factors, constants, noise_precision, coef, intercepts, spreads, "
                           "hard)\n--\n\n(response, variance or None) of gate and experts; spreads may be None."),
    ENTRY(combine_experts, "(X, block_sizes, posterior, coef, intercepts, spreads, hard)\n--\n\n(response, variance or "
                           "None) of the experts by given weights; spreads may be None."),
    ENTRY(mixture_moments, "(X, Y, block_sizes, inverse_factors, constants, noise_precision, coef, intercepts, "
                           "response_factors)\n--\n\n(moments, posterior, log likelihood) of one pass of EM."),
    ENTRY(weighted_moments, "(X, Y, posterior, block_sizes)\n--\n\nSums of products of [x_i, 1, Y], by weights."),
    {"blas_info", core_blas_info, METH_NOARGS,
     "blas_info()\n--\n\n(configuration, kernel) of the linear algebra library in use."},
    {"instruction_set", core_instruction_set, METH_NOARGS,
     "instruction_set()\n--\n\nThe instruction set whose kernels are in use."},
    {"instruction_sets", core_instruction_sets, METH_NOARGS,
     "instruction_sets()\n--\n\nThose that this build has and this CPU runs, the best one last."},
    {"all_finite", core_all_finite, METH_O, "all_finite(array)\n--\n\nWhether no entry is NaN or infinite."},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *module)
{
    if (PyArray_ImportNumPyAPI() < 0)
        return -1;
    if (!choose_instruction_set())
        return -1;
    blas_set_num_threads(1); /* threads belong outside: the kernels release the lock */
    return PyModule_AddIntConstant(module, "METHOD_AUTO", MOE_AUTO) ||
           PyModule_AddIntConstant(module, "METHOD_NORMAL", MOE_NORMAL) ||
           PyModule_AddIntConstant(module, "METHOD_ORTHOGONAL", MOE_ORTHOGONAL) ||
           PyModule_AddIntConstant(module, "METHOD_SVD", MOE_SVD);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED}, /* NumPy's C API is per process */
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "moenoise._core",
    .m_doc = "The kernels. Arrays must be exactly as asked for: moenoise's Python functions coerce and check.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
