/* Vectors, memory and functions that translated kernels use. */
#include <float.h>
#include <stdint.h>

#if FLT_EVAL_METHOD != 0
#error "the same bits need arithmetic in float and double, not in wider registers"
#endif

#if defined(__SSE2__)
#include <immintrin.h>
#endif

/* u64v fills a vector register with numbers of 64 bits; u32v has as many numbers of 32 bits. */
#if defined(__AVX512F__)
#define LANES ((u64v){0, 1, 2, 3, 4, 5, 6, 7})
typedef uint64_t u64v __attribute__((vector_size(64)));
typedef uint32_t u32v __attribute__((vector_size(32)));
#elif defined(__AVX2__)
#define LANES ((u64v){0, 1, 2, 3})
typedef uint64_t u64v __attribute__((vector_size(32)));
typedef uint32_t u32v __attribute__((vector_size(16)));
#else
#define LANES ((u64v){0, 1})
typedef uint64_t u64v __attribute__((vector_size(16)));
typedef uint32_t u32v __attribute__((vector_size(8)));
#endif

#include "native.h"

#include <math.h>
#include <string.h>

#define INLINED inline __attribute__((always_inline))

/* The product of the low halves of x and y. */
static INLINED uint64_t product_u64(uint64_t x, uint64_t y)
{
    return (uint64_t)(uint32_t)x * y;
}

static INLINED u64v product_u64v(u64v x, uint64_t factor)
{
    const u64v zero = {0}, y = zero + factor;
#if defined(__AVX512F__)
    return (u64v)_mm512_mul_epu32((__m512i)x, (__m512i)y);
#elif defined(__AVX2__)
    return (u64v)_mm256_mul_epu32((__m256i)x, (__m256i)y);
#elif defined(__SSE2__)
    return (u64v)_mm_mul_epu32((__m128i)x, (__m128i)y);
#else
    return (x & 0xFFFFFFFF) * y;
#endif
}

/* A point that an arena can be taken back to. */
typedef struct {
    Slab *top;
    size_t used;
} Mark;

static inline Mark arena_mark(Arena *arena)
{
    return (Mark){arena->top, arena->top ? arena->top->used : 0};
}

static void *arena_take(Arena *arena, size_t size)
{
    Slab *top = arena->top;
    size = (size + 63) / 64 * 64;
    if (!top || top->size - top->used < size) {
        const size_t least = top ? 2 * top->size : 1 << 16;
        const size_t room = size > least ? size : least;
        Slab *new = arena->spare;
        if (new && new->size >= size)
            arena->spare = NULL;
        else if ((new = aligned_alloc(64, (sizeof(Slab) + room + 63) / 64 * 64)))
            new->size = room;
        else
            longjmp(arena->out_of_memory, 1);
        new->below = top;
        new->used = 0;
        arena->top = top = new;
    }
    top->used += size;
    return top->bytes + top->used - size;
}

static void arena_release(Arena *arena, const Mark *mark)
{
    while (arena->top != mark->top) {
        Slab *empty = arena->top, *smaller = arena->spare;
        arena->top = empty->below;
        if (!smaller || smaller->size < empty->size) {
            arena->spare = empty;
            empty = smaller;
        }
        free(empty);
    }
    if (arena->top) arena->top->used = mark->used;
}

/* Functions that reinterpret the bits of a number. */
#define VIEW(from, from_c, to, to_c)                                                               \
    static INLINED to_c from##_as_##to(from_c x)                                                   \
    {                                                                                              \
        to_c y;                                                                                    \
        memcpy(&y, &x, sizeof y);                                                                  \
        return y;                                                                                  \
    }
VIEW(f32, float, u32, uint32_t)
VIEW(f32, float, i32, int32_t)
VIEW(u32, uint32_t, f32, float)
VIEW(i32, int32_t, f32, float)
VIEW(u32, uint32_t, i32, int32_t)
VIEW(f64, double, i64, int64_t)
VIEW(i64, int64_t, f64, double)
VIEW(f64, double, u64, uint64_t)
VIEW(u64, uint64_t, f64, double)
