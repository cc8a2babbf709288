// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The kernels for CPUs with tile registers: bf16 products go through tdpbf16ps,
// everything else is what AVX-512 with bf16 does. A tile of weights is 16 units
// of half a panel, read where it lies. The instruction sums the 16 even and the
// 16 odd products of a step apart, adds the two, and adds that to the output:
// always over the same 32 k, so one row goes through it as many rows do.
#define LLMIR_LEVEL amx
#define LLMIR_VECTOR_WIDTH 16
#define LLMIR_ACCUMULATORS 24
#define LLMIR_HAS_FMA 1
#define LLMIR_HAS_F16C 1
#define LLMIR_HAS_DPBF16 1
#define LLMIR_HAS_VNNI 1
#include "level.inc"

#include <sys/syscall.h>
#include <unistd.h>

namespace llmir::runtime::kernels::amx {

static constexpr int64_t tileHeight = 16;
static constexpr int64_t unitBytes = ProductBF16::unitBytes;
static constexpr int64_t blockUnits = blockBytes / unitBytes;
/// Units of a panel that one instruction consumes.
static constexpr int64_t stepUnits = 16;
/// What a step takes of a panel, and of a tile of rows.
static constexpr int64_t stepBytes = stepUnits * unitBytes;
static constexpr int64_t rowStepBytes = tileHeight * stepUnits * 4;

struct alignas(64) TileConfig {
  uint8_t palette = 1, startRow = 0;
  uint8_t reserved[14] = {};
  uint16_t rowBytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 weights.
static void configure(int64_t rows) {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    config.rowBytes[i] = 64;
    config.rows[i] = i < 6 ? rows : tileHeight;
  }
  _tile_loadconfig(&config);
}

template <int64_t Bytes> LLMIR_INLINE void prefetch(const char *at) {
#pragma clang loop unroll(full)
  for (int64_t i = 0; i < Bytes; i += 64)
    __builtin_prefetch(at + i);
}

// The sums of a row, columns of one panel.
constexpr int sumStride = 128;

/// Up to 16 rows x two panels over all of k.
static void streamTwo(const LinearArgs &args, const char *x, const char *w,
                      float *sums) {
  constexpr int64_t distance = 2 * stepBytes;
  const char *w1 = w + args.panelBytes;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t u = 0; u < args.units; u += stepUnits) {
    // After the end of a panel come those after this pair.
    int64_t left = (args.units - u) * unitBytes;
    int64_t ahead = distance + (left <= distance ? args.panelBytes : 0);
    _tile_loadd(4, x, 64);
    prefetch<stepBytes>(w + ahead);
    _tile_loadd(6, w, unitBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w + 64, unitBytes);
    _tile_dpbf16ps(1, 4, 7);
    prefetch<stepBytes>(w1 + ahead);
    _tile_loadd(6, w1, unitBytes);
    _tile_dpbf16ps(2, 4, 6);
    _tile_loadd(7, w1 + 64, unitBytes);
    _tile_dpbf16ps(3, 4, 7);
    x += rowStepBytes;
    w += stepBytes;
    w1 += stepBytes;
  }
  _tile_stored(0, sums, sumStride);
  _tile_stored(1, sums + 16, sumStride);
  _tile_stored(2, sums + tileHeight * 32, sumStride);
  _tile_stored(3, sums + tileHeight * 32 + 16, sumStride);
}

/// Adds some units to 16 or 32 rows x one panel of sums [rows][32].
template <bool Two, bool Prefetch>
static void addTiles(const char *x, int64_t tileBytes, const char *w,
                     int64_t units, bool first, float *sums) {
  float *lower = sums + 16 * 32;
  if (first) {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (Two) {
      _tile_zero(2);
      _tile_zero(3);
    }
  } else {
    _tile_loadd(0, sums, sumStride);
    _tile_loadd(1, sums + 16, sumStride);
    if constexpr (Two) {
      _tile_loadd(2, lower, sumStride);
      _tile_loadd(3, lower + 16, sumStride);
    }
  }
  for (int64_t u = 0; u < units; u += stepUnits) {
    if constexpr (Prefetch)
      prefetch<stepBytes>(w + 2 * stepBytes);
    // The rows come from the second-level cache, past the weights that stay in
    // the first.
    prefetch<rowStepBytes>(x + 2 * rowStepBytes);
    if constexpr (Two)
      prefetch<rowStepBytes>(x + tileBytes + 2 * rowStepBytes);
    _tile_loadd(4, x, 64);
    _tile_loadd(6, w, unitBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, w + 64, unitBytes);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (Two) {
      _tile_loadd(5, x + tileBytes, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    x += rowStepBytes;
    w += stepBytes;
  }
  _tile_stored(0, sums, sumStride);
  _tile_stored(1, sums + 16, sumStride);
  if constexpr (Two) {
    _tile_stored(2, lower, sumStride);
    _tile_stored(3, lower + 16, sumStride);
  }
}

/// The same for all rows of some tiles. The first of them bring the weights.
static void addRows(const char *x, int64_t tiles, int64_t tileBytes,
                    const char *w, int64_t units, bool first, float *sums) {
  int64_t tile = 0;
  for (; tile + 2 <= tiles; tile += 2) {
    auto add = tile == 0 ? addTiles<true, true> : addTiles<true, false>;
    add(x + tile * tileBytes, tileBytes, w, units, first,
        sums + tile * tileHeight * 32);
  }
  if (tile < tiles) {
    auto add = tile == 0 ? addTiles<false, true> : addTiles<false, false>;
    add(x + tile * tileBytes, tileBytes, w, units, first,
        sums + tile * tileHeight * 32);
  }
}

static void linearTiles(const LinearArgs &args, int64_t tileBegin,
                        int64_t tileEnd, int64_t panelBegin, int64_t panelEnd,
                        float *scratch) {
  int64_t tileBytes = args.units * tileHeight * 4;
  const char *x = static_cast<const char *>(args.x) + tileBegin * tileBytes;
  const char *w = static_cast<const char *>(args.w);
  int64_t row = tileBegin * tileHeight;
  int64_t tiles = tileEnd - tileBegin;
  int64_t rows = least(args.rows - row, tiles * tileHeight);
  int64_t stride = tiles * tileHeight * 32;
  configure(tiles == 1 ? rows : tileHeight);
  // Few rows: the weights come from memory, and once is best in one go.
  int64_t block = tiles <= 2 ? args.units : blockUnits;
  for (int64_t panel = panelBegin; panel < panelEnd; panel += 2) {
    int64_t count = least(2, panelEnd - panel);
    const char *weights = w + panel * args.panelBytes;
    float *sums = scratch;
    if (tiles == 1 && count == 2)
      streamTwo(args, x, weights, sums);
    else
      for (int64_t p = 0; p < count;
           ++p, weights += args.panelBytes, sums += stride)
        for (int64_t u = 0; u < args.units; u += block)
          addRows(x + u * 4 * tileHeight, tiles, tileBytes,
                  weights + u * unitBytes, least(block, args.units - u), u == 0,
                  sums);
    emit(args, row, rows, panel, count, scratch, stride);
  }
  _tile_release();
}

/// Packs tiles of 16 rows as [step][row][32 k], with zeros in the padding.
static void packTiles(const LinearRows &rows, int64_t tileBegin,
                      int64_t tileEnd, void *packed, float *scratch) {
  int64_t steps = rows.units / stepUnits;
  for (int64_t tile = tileBegin; tile < tileEnd; ++tile) {
    char *to = static_cast<char *>(packed) + tile * steps * rowStepBytes;
    int64_t row = tile * tileHeight;
    int64_t height = least(tileHeight, rows.rows - row);
    RowsOf<BFloat16> from = roundedRows<BFloat16>(rows, row, height, scratch);
    for (int64_t r = 0; r < tileHeight; ++r) {
      char *line = to + r * 64;
      const BFloat16 *numbers = from.first + r * from.stride;
      int64_t whole = r < height ? rows.k / 32 : 0;
      for (int64_t s = 0; s < whole; ++s)
        __builtin_memcpy(line + s * rowStepBytes, numbers + s * 32, 64);
      for (int64_t s = whole; s < steps; ++s) {
        BFloat16 last[32] = {};
        if (r < height)
          for (int64_t i = s * 32; i < least(rows.k, s * 32 + 32); ++i)
            last[i % 32] = numbers[i];
        __builtin_memcpy(line + s * rowStepBytes, last, 64);
      }
    }
  }
}

bool requestTiles() {
  // Linux keeps the 8 KB of tile registers back until a process asks.
  constexpr int requestPermission = 0x1023, tileData = 18;
  return syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

const Table &table() {
  static constexpr LinearKernels tiles = {
      tileHeight, tileHeight, 32, 2, 4, 0, 0, 256, 8, packTiles, linearTiles};
  static constexpr Table kernels = tableWith(tiles);
  return kernels;
}

} // namespace llmir::runtime::kernels::amx
