/* Fletcher-64 checksums of standard input and of named input files, in plain C.
 *
 * Usage: c-stdio [FILE]...   Prints one line per stream: checksum, bytes, name.
 * Exit code 0, or 1 when a file cannot be read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>

/* Sums over bytes modulo 2^32 - 1, after J. G. Fletcher (1982). */
struct checksum {
    uint64_t sum, sums, bytes;
};

static void add(struct checksum *c, const unsigned char *data, size_t length) {
    for (size_t i = 0; i < length; i++) {
        c->sum = (c->sum + data[i]) % UINT32_MAX;
        c->sums = (c->sums + c->sum) % UINT32_MAX;
    }
    c->bytes += length;
}

static int print_checksum(FILE *stream, const char *name) {
    unsigned char buffer[4096];
    struct checksum c = {0, 0, 0};
    size_t length;
    while ((length = fread(buffer, 1, sizeof buffer, stream)) > 0)
        add(&c, buffer, length);
    if (ferror(stream)) {
        fprintf(stderr, "failed to read %s: %s\n", name, strerror(errno));
        return 1;
    }
    printf("%08" PRIx64 "%08" PRIx64 " %" PRIu64 " %s\n", c.sums, c.sum, c.bytes, name);
    return 0;
}

int main(int argc, char **argv) {
    int failed = print_checksum(stdin, "-");
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            fprintf(stderr, "failed to open %s: %s\n", argv[i], strerror(errno));
            return 1;
        }
        failed |= print_checksum(file, argv[i]);
        fclose(file);
    }
    return failed;
}
