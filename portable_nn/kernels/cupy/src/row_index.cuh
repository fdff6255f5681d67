// Which rows of a table have a sum, and where: what `sum_places` leaves for those who read the sums.
#pragma once
#include "common.cuh"

// One array of ints: the number of places, the width of a row, the key of each place in order, and for each row of the
// table the place of its sum. The last are set for rows that have one, and else anything: the key of the place tells.
constexpr int INDEX_KEYS = 2;

DEVICE int place_of_row(const int* index, int64 row) {
    const int* slots = index + INDEX_KEYS + index[0];
    const int place = slots[row];
    return place >= 0 && place < index[0] && index[INDEX_KEYS + place] == static_cast<int>(row) ? place : -1;
}

// The row whose sum is at a place, or -1: only where a run begins there is one.
DEVICE int64 row_of_place(const int* index, int64 place, int64 size) {
    const int* keys = index + INDEX_KEYS;
    const int64 row = keys[place];
    return row >= size || (place > 0 && keys[place - 1] == row) ? -1 : row;
}
