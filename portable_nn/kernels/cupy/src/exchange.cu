// The first and the last launch of a recorded step: what it is given goes to where its launches read it, what it returns
// to where the caller wants it. See exchanges.py.
//
// Where that is changes from launch to launch, so it is read from a slot of the host's pinned memory, which every device
// reads at the host's own addresses; of the ring of slots, each launch takes the next one.
#include "bytes.cuh"
#include "last.cuh"

constexpr int THREADS = 256;
constexpr int64 CHUNK = 16384;

// `source` is 0 where the slot holds the address, at `place`, and -1 where it holds the bytes; `target` 0 likewise.
struct Piece {
    int64 target, source, place, size, first_chunk;
};

struct Header {
    int64 ring, slot_size, slots, launches, ticket, count[2], chunks[2];
};

// `side` is 0 in the first launch of a step, which counts it, and 1 in the last. Before the header is written, nothing.
KERNEL exchange(int64* head, const int64* table, int64 side) {
    Header* header = reinterpret_cast<Header*>(head);
    const Piece* pieces = reinterpret_cast<const Piece*>(table);
    if (header->slots == 0) return;
    const char* slot = reinterpret_cast<const char*>(header->ring)
        + (header->launches - side) % header->slots * header->slot_size;
    const int count = static_cast<int>(header->count[side]);
    __shared__ int64 address;
    int known = -1;  // the piece whose address a thread has fetched for its block
    for (int64 chunk = blockIdx.x; chunk < header->chunks[side]; chunk += gridDim.x) {
        int i = 0;
        while (i + 1 < count && pieces[i + 1].first_chunk <= chunk) i++;
        const Piece piece = pieces[i];
        const int64 start = (chunk - piece.first_chunk) * CHUNK;
        const int64 size = min(CHUNK, piece.size - start);
        // The host writes anew to what a slot holds, so nothing of it may come from a cache; and it is far away.
        const volatile int64* here = reinterpret_cast<const volatile int64*>(slot + piece.place);
        if (piece.source == -1) {
            int64* target = reinterpret_cast<int64*>(piece.target + start);
            for (int64 n = threadIdx.x; n < size / 8; n += THREADS) target[n] = here[start / 8 + n];
            continue;
        }
        if (i != known) {
            __syncthreads();
            if (threadIdx.x == 0) address = *here;
            __syncthreads();
            known = i;
        }
        copy_bytes(reinterpret_cast<char*>(piece.target == 0 ? address : piece.target) + start,
                   reinterpret_cast<const char*>(piece.source == 0 ? address : piece.source) + start, size, threadIdx.x,
                   THREADS);
    }
    if (side == 0 && is_last_block(reinterpret_cast<unsigned*>(&header->ticket), gridDim.x) && threadIdx.x == 0) {
        header->launches += 1;
    }
}
