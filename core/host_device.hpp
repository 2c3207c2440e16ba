#pragma once
// INVAR_HD marks a function that is compiled for the CPU and, under nvcc, for the GPU as well.
//
// Headers whose functions carry it (random numbers, functors of the ops) hold the maths of one
// element once for both backends. Such a function uses nothing that exists only on the host: no
// allocation, no exceptions, no standard containers.
#ifdef __CUDACC__
#define INVAR_HD __host__ __device__
#else
#define INVAR_HD
#endif
