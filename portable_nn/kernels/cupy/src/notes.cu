// What a training loop notes of a loss, in one launch: the sum over an epoch, and the first loss that is not finite.
#include "common.cuh"

constexpr int STEP_LOSS = 3;  // of a record: as in optimizers.cu

DEVICE float with(float total, float loss, float mass) { return __fadd_rn(total, __fmul_rn(loss, mass)); }
DEVICE double with(double total, double loss, double mass) { return __dadd_rn(total, __dmul_rn(loss, mass)); }

// total += loss * mass, rounded twice, as array code does it; where `masses` is not null the mass is there.
KERNEL note_loss(const scalar* loss, const scalar* masses, double mass, scalar* total, double* record) {
    const real value = load(loss);
    if (record[STEP_LOSS] - record[STEP_LOSS] == 0) record[STEP_LOSS] = value;
    store(total, with(load(total), value, masses ? load(masses) : static_cast<real>(mass)));
}
