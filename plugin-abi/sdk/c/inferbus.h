/* The plugin contract, version 1 (ABI.md), for C: a single header without a library.
 *
 * Include it in exactly one source file. Memory is never freed: the worker restores it after every message. */
#ifndef INFERBUS_H
#define INFERBUS_H

#include <stddef.h>
#include <stdint.h>

/* ---- Exports ---- */

#define INFERBUS_EXPORT(name) __attribute__((export_name(name)))

/* INFERBUS_TRANSFORM(input, len) { ...; return inferbus_output(bytes, count); } */
#define INFERBUS_TRANSFORM(input, len) \
    INFERBUS_EXPORT("transform") int64_t inferbus_transform(uint8_t *input, uint32_t len)

/* INFERBUS_INIT(config, len) { ...; return 0; }   Any value but 0 rejects the config. */
#define INFERBUS_INIT(config, len) \
    INFERBUS_EXPORT("init") int32_t inferbus_init(const char *config, uint32_t len)

/* ---- Imports; each needs its grant in the entry ---- */

enum { INFERBUS_ERROR, INFERBUS_WARN, INFERBUS_INFO, INFERBUS_DEBUG, INFERBUS_TRACE };

__attribute__((import_module("inferbus"), import_name("log")))
void inferbus_log(uint32_t level, const char *text, uint32_t len);

__attribute__((import_module("inferbus"), import_name("emit")))
int32_t inferbus_emit(const char *topic, uint32_t topic_len, const void *payload, uint32_t len);

/* ---- Memory ---- */

#define INFERBUS_ALIGNMENT 16u
#define INFERBUS_PAGE 65536u

extern uint8_t __heap_base;
static uintptr_t inferbus_used;

/* Allocates len bytes at a multiple of 16. Returns a null pointer if memory is exhausted. */
INFERBUS_EXPORT("alloc") void *inferbus_alloc(uint32_t len) {
    uint64_t start = inferbus_used ? inferbus_used : (uintptr_t)&__heap_base;
    start = (start + INFERBUS_ALIGNMENT - 1) / INFERBUS_ALIGNMENT * INFERBUS_ALIGNMENT;
    uint64_t end = start + len;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) * INFERBUS_PAGE;
    if (end > UINT32_MAX) return NULL;
    if (end > have) {
        uint32_t pages = (uint32_t)((end - have + INFERBUS_PAGE - 1) / INFERBUS_PAGE);
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) return NULL;
    }
    inferbus_used = (uintptr_t)end;
    return (void *)(uintptr_t)start;
}

/* ---- Return values of transform ---- */

#define INFERBUS_NOTHING ((int64_t)0)

static inline int64_t inferbus_output(const void *bytes, uint32_t len) {
    return (int64_t)((uint64_t)(uintptr_t)bytes << 32 | len);
}

static inline uint32_t inferbus_length(const char *text) {
    uint32_t len = 0;
    while (text[len]) len++;
    return len;
}

/* Rejects the message. The text is the reason and ends with a zero byte. */
static inline int64_t inferbus_refuse(const char *text) {
    return inferbus_output(text, inferbus_length(text)) | INT64_MIN;
}

/* ---- The tensor frame ---- */

enum {
    INFERBUS_F32 = 1, INFERBUS_U8, INFERBUS_I8, INFERBUS_U16, INFERBUS_I16, INFERBUS_I32, INFERBUS_I64,
    INFERBUS_STRING, INFERBUS_BOOL, INFERBUS_F16, INFERBUS_F64, INFERBUS_U32, INFERBUS_U64, INFERBUS_COMPLEX64,
    INFERBUS_COMPLEX128, INFERBUS_BF16, INFERBUS_F8E4M3FN, INFERBUS_F8E4M3FNUZ, INFERBUS_F8E5M2, INFERBUS_F8E5M2FNUZ,
    INFERBUS_U4, INFERBUS_I4, INFERBUS_F4E2M1, INFERBUS_F8E8M0, INFERBUS_U2, INFERBUS_I2
};

static inline uint64_t inferbus_round_up(uint64_t number, uint64_t multiple) {
    return (number + multiple - 1) / multiple * multiple;
}

static inline uint8_t *inferbus_put(uint8_t *place, uint64_t number, uint32_t bytes) {
    for (uint32_t i = 0; i < bytes; i++) *place++ = (uint8_t)(number >> (8 * i));
    return place;
}

/* Allocates a frame of one tensor and returns its data. Write data_len bytes there, then return *result from transform.
 * Returns a null pointer if memory is exhausted. */
static inline void *inferbus_tensor(uint8_t type, const char *name, uint8_t rank, const uint64_t *shape,
                                    uint32_t data_len, int64_t *result) {
    uint32_t name_len = inferbus_length(name);
    uint64_t data_at = inferbus_round_up(16 + 8 * (uint64_t)rank + name_len, 16);
    uint64_t len = inferbus_round_up(data_at + data_len, 8);
    uint8_t *frame = len > UINT32_MAX ? NULL : inferbus_alloc((uint32_t)len);
    if (!frame) return NULL;
    uint8_t *at = frame;
    at = inferbus_put(at, 0x31544249, 4); /* IBT1 */
    at = inferbus_put(at, 1, 4);
    at = inferbus_put(at, type, 1);
    at = inferbus_put(at, rank, 1);
    at = inferbus_put(at, name_len, 2);
    at = inferbus_put(at, data_len, 4);
    for (uint32_t i = 0; i < rank; i++) at = inferbus_put(at, shape[i], 8);
    for (uint32_t i = 0; i < name_len; i++) *at++ = (uint8_t)name[i];
    while (at < frame + data_at) *at++ = 0;
    for (uint64_t i = data_at + data_len; i < len; i++) frame[i] = 0;
    *result = inferbus_output(frame, (uint32_t)len);
    return frame + data_at;
}

#endif
