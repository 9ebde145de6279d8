/* A saved network, run a step at a time from C.

   unspool_stream *s = unspool_load("folder", error, sizeof error);
   if (s && unspool_step(s, x, y, error, sizeof error) == 0) ...
   unspool_free(s);

   Functions that can fail take a buffer for one line of complaint, return NULL or -1, and leave the state as it was. A
   stream is for one thread at a time; each thread may load its own. */
#ifndef UNSPOOL_H
#define UNSPOOL_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(_WIN32)
#define UNSPOOL_API __attribute__((visibility("default")))
#else
#define UNSPOOL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct unspool_stream unspool_stream;

/* The network that was saved in a folder; its config.json and model.safetensors are read, and nothing else. Sizes,
   numbers and the checksum of the weights are checked. */
UNSPOOL_API unspool_stream* unspool_load(const char* folder, char* error, size_t error_size);
UNSPOOL_API void unspool_free(unspool_stream* stream);

/* K where the inputs are tokens 0..K-1, else 0; I, the numbers of an input; O, the numbers of an output. */
UNSPOOL_API int64_t unspool_tokens(const unspool_stream* stream);
UNSPOOL_API int64_t unspool_inputs(const unspool_stream* stream);
UNSPOOL_API int64_t unspool_outputs(const unspool_stream* stream);

/* The stride: from one output to the next there are so many steps, 1 in most networks; the first step has one. And how
   many outputs the next T steps give. */
UNSPOOL_API int64_t unspool_stride(const unspool_stream* stream);
UNSPOOL_API int64_t unspool_outputs_of(const unspool_stream* stream, int64_t steps);

/* One step: x, I finite numbers, or a token, to y, O numbers. A bidirectional network has no single steps. 0 where
   there is an output; 1 where the step was taken and has none, which only a network with a stride returns. */
UNSPOOL_API int unspool_step(unspool_stream* stream, const float* x, float* y, char* error, size_t error_size);
UNSPOOL_API int unspool_step_token(unspool_stream* stream, int64_t token, float* y, char* error, size_t error_size);

/* T steps: x, (T, I), or tokens, (T), to y, (unspool_outputs_of T steps, O), which is (T, O) without a stride. The one
   that is not wanted is NULL. */
UNSPOOL_API int unspool_run(unspool_stream* stream, int64_t steps, const float* x, const int64_t* tokens, float* y,
                            char* error, size_t error_size);

/* Begin a new sequence. */
UNSPOOL_API void unspool_reset(unspool_stream* stream);

#ifdef __cplusplus
}
#endif
#endif
