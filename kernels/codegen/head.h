/* What native.c offers, for every level of processors it is compiled for. */
#pragma once
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct Chunk {
    struct Chunk *below;
    size_t used, size;
    _Alignas(64) char bytes[];
} Chunk;

/* Memory of one thread, taken and given back in the order of a stack. */
typedef struct {
    Chunk *top, *spare;
    jmp_buf out_of_memory; /* where to go on if there is none left */
} Arena;

/* structs */

extern const Level nqm_plain;
#ifdef NQM_X86_LEVELS
extern const Level nqm_v3, nqm_v4;
#endif

/* What is left of an arena after its last use. */
static inline void arena_free(Arena *arena)
{
    free(arena->spare);
    arena->spare = NULL;
}

/* The k-th level, narrowest first, or NULL; whether this machine's processor has it. */
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
