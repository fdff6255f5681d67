// The same rows of several arrays: a batch of data that are kept on the device.
#include "bytes.cuh"

constexpr int PARTS = 8;
constexpr int64 CHUNK = 4096;  // bytes of a row that one warp copies

struct Parts {
    const char* source[PARTS];
    char* target[PARTS];
    int64 width[PARTS];  // bytes of a row
    int64 first[PARTS];  // warp
    int64 count;
};

KERNEL gather_rows(Parts parts, const int64* index, int64 warps) {
    int64 place = static_cast<int64>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (place >= warps) return;
    int part = 0;
    while (part + 1 < parts.count && parts.first[part + 1] <= place) part++;
    place -= parts.first[part];
    const int64 width = parts.width[part], chunks = (width + CHUNK - 1) / CHUNK;
    const int64 row = place / chunks, start = place % chunks * CHUNK;
    copy_bytes(parts.target[part] + row * width + start, parts.source[part] + index[row] * width + start,
               min(CHUNK, width - start), threadIdx.x, 32);
}
