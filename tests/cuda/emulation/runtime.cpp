// Runs the threads of one block as fibers, one block after another, both in the order that a test asks for. It proves
// logic: indices, barriers, shuffles, sums. It says nothing of speed, of a GPU's own rounding, nor of races that the
// orders it tries do not show.
//
// A fiber runs until it meets a barrier or a shuffle, and goes on once all that must meet it have. Errors: threads that
// wait at different barriers, or for one that has ended; both would hang or worse on a GPU.
#include <stdio.h>
#include <stdlib.h>

#include "shim.h"
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulator {
Place* self;
unsigned char* dynamic_shared;

namespace {
constexpr unsigned long STACK = 64 * 1024;
enum State { READY, AT_BLOCK, AT_WARP, ENDED };

struct Fiber {
    Place place;
    State state;
    int line;
    unsigned mask, parity;
#if defined(__x86_64__)
    void* context;
#else
    ucontext_t context;
#endif
    char* stack;
};
struct Warp { uint64_t slots[2][32]; unsigned arrived[2]; };

Fiber fibers[2048];  // a cluster of blocks is one block here
Warp warps[64];
unsigned count, arrived;
Fiber* current;
Body body;
void** arguments;
char message[512];
#if defined(__x86_64__)
void* scheduler;
extern "C" void emulator_switch(void** from, void* to);
asm(".globl emulator_switch\n.type emulator_switch,@function\nemulator_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
void leave(Fiber* f) { emulator_switch(&f->context, scheduler); }
void enter(Fiber* f) { emulator_switch(&scheduler, f->context); }
#else
ucontext_t scheduler;
void leave(Fiber* f) { swapcontext(&f->context, &scheduler); }
void enter(Fiber* f) { swapcontext(&scheduler, &f->context); }
#endif

unsigned linear(const Fiber* f) { return f - fibers; }

void start() {
    body(arguments);
    current->state = ENDED;
    leave(current);
    abort();
}

void prepare(Fiber* f) {
    if (!f->stack) f->stack = static_cast<char*>(aligned_alloc(64, STACK));
    f->state = READY;
    f->parity = 0;
#if defined(__x86_64__)
    void** top = reinterpret_cast<void**>(f->stack + STACK) - 1;
    *top-- = nullptr;                              // start() never returns; keeps the stack as the ABI wants it
    *top-- = reinterpret_cast<void*>(start);
    f->context = top - 5;                          // the six registers that are popped first
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK;
    makecontext(&f->context, start, 0);
#endif
}

void wait(State state, int line) {
    current->state = state;
    current->line = line;
    Fiber* f = current;
    leave(f);
    current = f;
    self = &f->place;
}

const char* names[] = {"", "__shfl_sync", "__shfl_xor_sync", "__shfl_down_sync", "__shfl_up_sync", "a vote",
                       "__match_any_sync"};

void describe(char* text, size_t size, const Fiber* f) {
    if (f->state == ENDED) snprintf(text, size, "thread %u has ended", linear(f));
    else if (f->state == AT_BLOCK) snprintf(text, size, "thread %u waits at __syncthreads of line %d", linear(f), f->line);
    else if (f->line < 7) snprintf(text, size, "thread %u waits at %s, mask %x", linear(f), names[f->line], f->mask);
    else snprintf(text, size, "thread %u waits at __syncwarp of line %d, mask %x", linear(f), f->line, f->mask);
}

int fail() {
    char one[150] = "", other[150] = "";
    for (unsigned i = 0; i < count && !*one; i++)
        if (fibers[i].state != ENDED) describe(one, sizeof one, &fibers[i]);
    const Fiber* first = nullptr;
    for (unsigned i = 0; i < count; i++) {
        if (!first && fibers[i].state != ENDED) first = &fibers[i];
        else if (first && (fibers[i].state != first->state || fibers[i].line != first->line)) { describe(other, sizeof other, &fibers[i]); break; }
    }
    if (!*other && count) describe(other, sizeof other, &fibers[0]);
    uint3 b = fibers[0].place.block;
    snprintf(message, sizeof message, "threads of block (%u, %u, %u) do not meet: %s, %s", b.x, b.y, b.z, one, other);
    return 1;
}

// Which of so many comes k-th. 0: as numbered; 1: backwards; above: a stride that visits all.
uint64_t place_in(int order, uint64_t k, uint64_t total) {
    return order == 0 ? k : order == 1 || total % 7919 == 0 ? total - 1 - k : (k * 7919ull + order) % total;
}

bool run_block(int order) {
    arrived = 0;
    memset(warps, 0xff, sizeof warps);
    for (auto& warp : warps) warp.arrived[0] = warp.arrived[1] = 0;
    for (unsigned i = 0; i < count; i++) prepare(&fibers[i]);
    unsigned ended = 0;
    while (ended < count) {
        bool progress = false;
        for (unsigned k = 0; k < count; k++) {
            Fiber* f = &fibers[place_in(order, k, count)];
            if (f->state != READY) continue;
            progress = true;
            current = f;
            self = &f->place;
            enter(f);
            ended += f->state == ENDED;
        }
        if (arrived == count) {
            for (unsigned i = 1; i < count; i++)
                if (fibers[i].line != fibers[0].line) return fail(), false;
            for (unsigned i = 0; i < count; i++) fibers[i].state = READY;
            arrived = 0;
            progress = true;
        }
        if (!progress) return fail(), false;
    }
    return true;
}
}  // namespace

void block_barrier(int line) {
    arrived++;
    wait(AT_BLOCK, line);
}

unsigned present_lanes() {
    unsigned first = linear(current) / 32 * 32, rest = count - first;
    return rest >= 32 ? 0xffffffffu : (1u << rest) - 1;
}

const uint64_t* exchange(unsigned mask, uint64_t value, int line) {
    Fiber* f = current;
    unsigned index = linear(f), lane = index % 32, parity = f->parity;
    Warp& warp = warps[index / 32];
    f->parity ^= 1;
    f->mask = mask;
    warp.slots[parity][lane] = value;
    warp.arrived[parity] |= 1u << lane;
    unsigned awaited = mask & present_lanes();
    if (!(mask >> lane & 1)) { wait(AT_WARP, line); return warp.slots[parity]; }  // never released: an error
    if ((warp.arrived[parity] & awaited) == awaited) {
        bool same = true;
        for (unsigned i = 0; i < 32; i++) {
            Fiber& other = fibers[index / 32 * 32 + i];
            if ((awaited >> i & 1) && i != lane) same = same && other.state == AT_WARP && other.line == line && other.mask == mask;
        }
        if (same) {
            warp.arrived[parity] &= ~awaited;
            for (unsigned i = 0; i < 32; i++)
                if ((awaited >> i & 1) && i != lane) fibers[index / 32 * 32 + i].state = READY;
            return warp.slots[parity];
        }
    }
    wait(AT_WARP, line);
    return warp.slots[parity];
}

void warp_barrier(unsigned mask, int line) { exchange(mask, 0, line); }

float half_to_float(unsigned short bits) {
    unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return unpack<float>(sign | 0x7f800000u | fraction << 13);
    float x = exponent ? ldexpf(1024 + fraction, static_cast<int>(exponent) - 25) : ldexpf(fraction, -24);
    return sign ? -x : x;
}

unsigned short float_to_half(float x) {
    unsigned bits = static_cast<unsigned>(pack(x)), sign = bits >> 16 & 0x8000;
    float size = fabsf(x);
    if (size != size) return 0x7fff;
    if (size >= 65520) return sign | 0x7c00;  // half way to 2**16, which is even
    if (size < ldexpf(1, -14)) return sign | static_cast<unsigned>(rintf(ldexpf(size, 24)));
    unsigned magnitude = bits & 0x7fffffff;
    magnitude += 0xfff + (magnitude >> 13 & 1);  // to the nearest, ties to even
    return sign | ((magnitude >> 13) - (112 << 10));
}

int run(const unsigned* grid, const unsigned* block, uint64_t shared, Body kernel, void** values,
        unsigned char* first, unsigned char* last, int order) {
    static unsigned char* memory;
    constexpr uint64_t most = 256 * 1024, guard = 256;
    message[0] = 0;
    count = block[0] * block[1] * block[2];
    if (!memory) memory = static_cast<unsigned char*>(aligned_alloc(128, most + guard));
    if (!count || count > 2048 || shared > most || !grid[0] || grid[1] > 65535 || grid[2] > 65535 || block[2] > 64) {
        snprintf(message, sizeof message, "a launch that CUDA refuses: grid (%u, %u, %u), block (%u, %u, %u), %lu bytes",
                 grid[0], grid[1], grid[2], block[0], block[1], block[2], static_cast<unsigned long>(shared));
        return 1;
    }
    body = kernel;
    arguments = values;
    dynamic_shared = memory;
    const uint64_t blocks = static_cast<uint64_t>(grid[0]) * grid[1] * grid[2];
    for (uint64_t k = 0; k < blocks; k++) {
        const uint64_t b = place_in(order, k, blocks);
        if (first) memset(first, 0xff, last - first);  // all bits set: NaN, or -1
        memset(memory, 0xff, shared + guard);
        for (unsigned i = 0; i < count; i++) {
            Place& p = fibers[i].place;
            p.thread = {i % block[0], i / block[0] % block[1], i / (block[0] * block[1])};
            p.block = {static_cast<unsigned>(b % grid[0]), static_cast<unsigned>(b / grid[0] % grid[1]),
                       static_cast<unsigned>(b / grid[0] / grid[1])};
            p.threads.x = block[0], p.threads.y = block[1], p.threads.z = block[2];
            p.blocks.x = grid[0], p.blocks.y = grid[1], p.blocks.z = grid[2];
        }
        if (!run_block(order)) return 1;
        for (uint64_t i = 0; i < guard; i++)
            if (memory[shared + i] != 0xff) {
                snprintf(message, sizeof message, "written past the %lu bytes of dynamic shared memory",
                         static_cast<unsigned long>(shared));
                return 1;
            }
    }
    return 0;
}
}  // namespace emulator

extern "C" const char* emulator_message() { return emulator::message; }
