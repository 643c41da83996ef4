// Calls one function of a plugin with Extism's library: `host MODULE FUNCTION INPUT`.
// The program reads numbers of calls, one per line. For each it prints microseconds of processor time and elapsed time
// per call, and the checksum of the last output.
//
// The library is taken from the Python package, and called without Python's overhead. WASI is off. HTTP is off, because
// the manifest does not allow a host. Time limit and fuel are off. The plugin's instance is reused, as Extism advises.
// Extism resets its memory between calls.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct ExtismPlugin ExtismPlugin;
ExtismPlugin *extism_plugin_new(const uint8_t *wasm, uint64_t size, const void **functions, uint64_t count, bool wasi,
                                char **error);
int32_t extism_plugin_call(ExtismPlugin *plugin, const char *function, const uint8_t *input, uint64_t size);
uint64_t extism_plugin_output_length(ExtismPlugin *plugin);
const uint8_t *extism_plugin_output_data(ExtismPlugin *plugin);
const char *extism_plugin_error(ExtismPlugin *plugin);

static uint8_t *whole(const char *path, uint64_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) return NULL;
    *size = (uint64_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size);
    bool read = bytes && fread(bytes, 1, *size, file) == *size;
    fclose(file);
    return read ? bytes : NULL;
}

static double micros(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static uint32_t checksum(const uint8_t *bytes, uint64_t size) {
    uint32_t sum = ~0u;
    for (uint64_t at = 0; at < size; at++) {
        sum ^= bytes[at];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (0xEDB88320u & -(sum & 1));
    }
    return ~sum;
}

int main(int count, char **arguments) {
    uint64_t module_size, input_size;
    uint8_t *module = count == 4 ? whole(arguments[1], &module_size) : NULL;
    uint8_t *input = count == 4 ? whole(arguments[3], &input_size) : NULL;
    if (!module || !input) return fprintf(stderr, "usage: host MODULE FUNCTION INPUT, with readable files\n"), 1;
    char *error = NULL;
    ExtismPlugin *plugin = extism_plugin_new(module, module_size, NULL, 0, false, &error);
    if (!plugin) return fprintf(stderr, "extism: %s\n", error), 1;
    long calls;
    while (scanf("%ld", &calls) == 1) {
        double cpu = micros(CLOCK_PROCESS_CPUTIME_ID), started = micros(CLOCK_MONOTONIC);
        for (long call = 0; call < calls; call++)
            if (extism_plugin_call(plugin, arguments[2], input, input_size) || !extism_plugin_output_data(plugin))
                return fprintf(stderr, "extism: %s\n", extism_plugin_error(plugin)), 1;
        cpu = micros(CLOCK_PROCESS_CPUTIME_ID) - cpu, started = micros(CLOCK_MONOTONIC) - started;
        uint32_t sum = checksum(extism_plugin_output_data(plugin), extism_plugin_output_length(plugin));
        printf("%.4f %.4f %u\n", cpu / (double)calls, started / (double)calls, sum);
        fflush(stdout);
    }
    return 0;
}
