/* Declarations of native.c, which is compiled for several levels of processors. */
#pragma once
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct Slab {
    struct Slab *below; /* the one that was full before this one */
    size_t used, size;
    _Alignas(64) char bytes[];
} Slab;

/* The memory of one thread: a stack of slabs. It is given back in the reverse order. */
typedef struct {
    Slab *top, *spare;
    jmp_buf out_of_memory; /* where to continue if there is no memory left */
} Arena;

/* structs */

extern const Level nqm_plain;
#ifdef NQM_X86_LEVELS
extern const Level nqm_v3, nqm_v4;
#endif

/* Free what is left of an arena after its last use. */
static inline void arena_free(Arena *arena)
{
    free(arena->spare);
    arena->spare = NULL;
}

/* Return the k-th level, narrowest first, or NULL; set its name, and whether this machine has it. */
static inline const Level *nqm_level(int k, const char **name, int *present)
{
    *present = 1;
    *name = "baseline";
    if (k == 0) return &nqm_plain;
#ifdef NQM_X86_LEVELS
    if (k == 1) {
        *name = "x86-64-v3";
        *present = __builtin_cpu_supports("x86-64-v3") != 0;
        return &nqm_v3;
    }
    if (k == 2) {
        *name = "x86-64-v4";
        *present = __builtin_cpu_supports("x86-64-v4") != 0;
        return &nqm_v4;
    }
#endif
    return NULL;
}
