/* The BLAS and LAPACK routines in use, under one name whatever prefix the library's symbols carry. */
#ifndef MOE_BLAS_H
#define MOE_BLAS_H

#include <cblas.h>
#include <lapacke.h>

#ifndef MOE_BLAS_PREFIX
#define MOE_BLAS_PREFIX /* none: the system's OpenBLAS */
#endif
#define MOE_JOIN_EXPANDED(prefix, name) prefix##name
#define MOE_JOIN(prefix, name) MOE_JOIN_EXPANDED(prefix, name)
#define MOE_BLAS(name) MOE_JOIN(MOE_BLAS_PREFIX, name)

#define blas_set_num_threads MOE_BLAS(openblas_set_num_threads)
#define blas_get_corename MOE_BLAS(openblas_get_corename)
#define blas_get_config MOE_BLAS(openblas_get_config)

#define blas_dnrm2 MOE_BLAS(cblas_dnrm2)
#define blas_daxpy MOE_BLAS(cblas_daxpy)
#define blas_dgemv MOE_BLAS(cblas_dgemv)
#define blas_dgemm MOE_BLAS(cblas_dgemm)
#define blas_dsyrk MOE_BLAS(cblas_dsyrk)
#define blas_dsyr2k MOE_BLAS(cblas_dsyr2k)
#define blas_dtrsm MOE_BLAS(cblas_dtrsm)
#define blas_ddot MOE_BLAS(cblas_ddot)
#define blas_dtrsv MOE_BLAS(cblas_dtrsv)
#define blas_strsv MOE_BLAS(cblas_strsv)
#define blas_strsm MOE_BLAS(cblas_strsm)
#define blas_ssyrk MOE_BLAS(cblas_ssyrk)

#define lapack_spotrf MOE_BLAS(LAPACKE_spotrf_work)
#define lapack_dpotrf MOE_BLAS(LAPACKE_dpotrf_work)
#define lapack_dpotrs MOE_BLAS(LAPACKE_dpotrs_work)
#define lapack_dtrtri MOE_BLAS(LAPACKE_dtrtri_work)
#define lapack_dgeqrf MOE_BLAS(LAPACKE_dgeqrf_work)
#define lapack_dormqr MOE_BLAS(LAPACKE_dormqr_work)
#define lapack_dtzrzf MOE_BLAS(LAPACKE_dtzrzf_work)
#define lapack_dormrz MOE_BLAS(LAPACKE_dormrz_work)
#define lapack_dgelsd MOE_BLAS(LAPACKE_dgelsd_work)
#define lapack_dsytrd MOE_BLAS(LAPACKE_dsytrd_work)

/* Steps of LAPACK's gelsy and sytrd that have no C interface. */
#define lapack_dlaqps MOE_BLAS(dlaqps_)
#define lapack_dlaic1 MOE_BLAS(dlaic1_)
#define lapack_dlatrd MOE_BLAS(dlatrd_)

/* Up to nb columns of a QR factorisation with column pivoting; kb of them were done. */
void lapack_dlaqps(const int *m, const int *n, const int *offset, const int *nb, int *kb, double *a, const int *lda,
                   int *jpvt, double *tau, double *vn1, double *vn2, double *auxv, double *f, const int *ldf);
/* One step of incremental condition estimation. */
void lapack_dlaic1(const int *job, const int *j, const double *x, const double *sest, const double *w,
                   const double *gamma, double *sestpr, double *s, double *c);
/* nb columns of a symmetric matrix to tridiagonal form; the rest is to lose V W' + W V'. uplo has one character. */
void lapack_dlatrd(const char *uplo, const int *n, const int *nb, double *a, const int *lda, double *e, double *tau,
                   double *w, const int *ldw, size_t uplo_length);

#endif
