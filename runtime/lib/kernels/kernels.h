// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The border between the kernels and the code that splits work over threads.
// Each level's source is compiled with its own instruction set, so nothing here
// is a function that both sides would emit: only plain structs and pointers.
#ifndef LLMIR_RUNTIME_LIB_KERNELS_KERNELS_H
#define LLMIR_RUNTIME_LIB_KERNELS_KERNELS_H

#include "llmir/runtime/abi.h"

#include <stddef.h>
#include <stdint.h>

/// How the pools of a KVPool lie. For each layer, block and head: the
/// keys as [block_size / 16][head_dim][16] (transposed, since a score is a sum
/// over head_dim and vectors run over positions), then the values as
/// [block_size][headDimPadded]. bf16 lies in pairs, as dot products take them:
/// keys [block_size / 16][head_dim / 2][16][2], values [block_size / 2]
/// [headDimPadded][2]. Blocks of fewer than 16 positions hold their keys as
/// [head_dim][block_size] or [head_dim / 2][block_size][2], and values without
/// pairs.
///
/// Integers stand for (stored - zero) * scale; those of 8 bits have no zero
/// point, but a sign in the highest bit and their size in the others. Lines of
/// 64 bytes become lines of pairs of bf16:
///   int8 keys    [block_size / 16][head_dim / 4] lines: of 16 positions 4
///                dimensions, [4][2][4][2]: by four positions, which each have
///                two dimensions and then two more
///   int8 values  [block_size / 4][headDimPadded / 16] lines: of 16 columns 4
///                positions, in the same way
///   int4 keys    [block_size / 16][head_dim / 8] lines: [16] words of 8
///                dimensions, whose nibbles are, from the lowest, 0, 2, 4, 6,
///                1, 3, 5, 7
///   int4 values  [block_size / 4][head_dim / 32] lines: [16] words of bytes of
///                positions 0, 2, 1, 3, with column c in the lower half and
///                c + 16 in the upper one (a byte of two positions could be
///                written by two threads at once)
/// with what is beyond head_dim padded. Behind the values come, for each 16
/// positions, the scales of their keys and of their values, in f16, and for
/// int4 the zero points of the same, in bytes. In blocks of fewer than 16
/// positions keys and values are the rows of positions, and those of scales as
/// many.
struct llmir_kv_cache {
  char *pool;
  int64_t poolBytes;
  int32_t dtype;
  int64_t elementBytes;
  int64_t layers, kvHeads, headDim, blockSize, numBlocks;
  int64_t headDimPadded; ///< To a multiple of 16.
  int64_t keyBytes;      ///< Of a position.
  int64_t valueBytes;    ///< Of a position.
  int64_t valuesOffset;  ///< Of the values after the keys of a head.
  int64_t scaleBytes;    ///< Of a position: scales and zero points, or 0.
  int64_t scalesOffset;  ///< Of these after the keys of a head.
  int64_t headBytes, blockBytes, layerBytes;
};

namespace llmir::runtime::kernels {

/// A product's rows as the caller has them, and what comes before the product.
struct LinearRows {
  const void *x;
  int32_t dtype;
  int64_t stride; ///< In elements.
  int64_t rows, k;
  int64_t units, tiles; ///< As in LinearArgs.
  const void *norm;     ///< [k], or null.
  int32_t normDtype;
  float epsilon;
  // Of quantized weights.
  int64_t groups;
  bool asymmetric;
};

/// A panel is a sequence of units: 32 columns of one k (f32, f16), of two
/// (bf16), or of what a quantized format takes together.
/// Rows are computed in tiles of nearly equal height; tile t begins at row
/// t * rows / tiles.
struct LinearArgs {
  const void *x; ///< As `pack` wrote it.
  const void *w; ///< Panels.
  int64_t units; ///< Of a panel.
  int64_t panelBytes;
  int64_t rows, tiles;
  int64_t k;
  // Of quantized weights; see llmir_linear_params.
  int64_t groupSize;
  int32_t scales;
  bool asymmetric;
  // The epilogue.
  int64_t columns; ///< Of the output.
  void *out;
  int64_t outStride; ///< In elements.
  int32_t outDtype;  ///< f32 if `accumulate`.
  bool accumulate;
  bool gated; ///< Panels of gates and ups by turns.
  int32_t activation;
  const void *bias; ///< [columns], twice that if `gated`, or null.
  int32_t biasDtype;
};

struct LinearKernels {
  int64_t tileRows;   ///< The greatest height of a tile.
  int64_t rowPadding; ///< 1, or tileRows if the packed tiles are all that high.
  int64_t kMultiple;  ///< What K is rounded up to.
  int64_t unitInputs; ///< Those k that a unit has.
  int64_t xUnitBytes; ///< What a row takes per unit when packed,
  int64_t xGroupBytes; ///< per group of a quantized weight,
  int64_t xRowBytes;   ///< and once. All rows' units come first, then groups.
  int64_t blockRows;   ///< Rows to compute at once, for the sake of the caches.
  int64_t blockPanels;

  /// Packs rows of tiles [tileBegin, tileEnd) into `packed`: normalized, and
  /// rounded to what the format takes. `scratch` holds tileRows + 1 rows of k
  /// floats, each rounded up to 64.
  void (*pack)(const LinearRows &rows, int64_t tileBegin, int64_t tileEnd,
               void *packed, float *scratch);
  /// Computes these tiles x panels, both panels of a gate. `scratch` holds 32
  /// floats for each row and panel; of one tile, where there may be more
  /// panels, for those of a block.
  void (*run)(const LinearArgs &args, int64_t tileBegin, int64_t tileEnd,
              int64_t panelBegin, int64_t panelEnd, float *scratch);
};

/// Positions are walked in chunks of 64, and the softmax starts anew at each
/// partition of 512: always at these places, whatever is computed together.
enum : int64_t { chunkPositions = 64, partitionPositions = 512 };
/// The most query vectors (rows x heads) of an item.
enum : int64_t { itemVectors = 128 };

/// Scores that are added to those of a query with each key, or bytes that say
/// which keys it sees.
struct AttentionMask {
  const void *data; ///< Or null.
  int32_t dtype;    ///< F32 or I8.
  int64_t sequenceStride, headStride, rowStride;
};

struct AttentionArgs {
  const llmir_kv_cache *cache;
  int64_t layer;
  const float *query;
  int64_t queryRowStride, queryHeadStride;
  int32_t queryDtype; ///< What a query is rounded to.
  void *out;
  int64_t outRowStride, outHeadStride;
  int32_t outDtype;
  int64_t groupHeads; ///< Query heads of a KV head.
  float scale;
  float softcap;       ///< 0 for none.
  int64_t window;      ///< 0 for none.
  const float *sinks;  ///< Of each query head; or null.
  const float *slopes; ///< Of each query head; or null.
  bool causal;
  int64_t contextLen; ///< Of each sequence, unless causal.
  AttentionMask mask;
};

/// New tokens. Keys and values are f32, or of the cache's type if that is a
/// float's.
struct AppendArgs {
  const llmir_kv_cache *cache;
  int64_t layer;
  const llmir_tensor *keys, *values; ///< [tokens, kvHeads, headDim]
  const int32_t *slots;
};

/// New tokens whose queries and keys are rotated first. The keys are f32, bf16
/// or f16, and so is the query.
struct RopeArgs {
  AppendArgs append;
  const llmir_tensor *query;   ///< [tokens, heads, headDim]
  const llmir_tensor *table;   ///< [positions, 2, half], f32
  const int32_t *positions;    ///< Of each token.
  const llmir_tensor *rotated; ///< [tokens, heads, headDim], f32
};

/// Query vectors [vectorBegin, vectorEnd) of each of some KV heads, counted row
/// by row and then head by head, of one sequence: itemVectors at most of all
/// heads together. All rows end in the same chunk.
struct AttentionItem {
  const int32_t *blockTable; ///< Of the sequence.
  /// Where the sequence begins in the query, in the output and in the mask.
  int64_t queryOffset, outOffset, maskOffset;
  int64_t firstRow;      ///< From there.
  int64_t firstPosition; ///< Of that row.
  int64_t kvHeadBegin, kvHeadEnd;
  int64_t vectorBegin, vectorEnd;
  int64_t partitionBegin, partitionEnd;
  float *partial; ///< Where the state goes, or null: the output is written.
};

struct AttentionKernels {
  /// Floats that `run` works in.
  int64_t (*scratchFloats)(int64_t headDim);
  /// Floats of an item's state.
  int64_t (*partialFloats)(int64_t headDim, int64_t vectors);
  /// Stores tokens [begin, end).
  void (*append)(const AppendArgs &args, int64_t begin, int64_t end);
  /// Floats that `ropeAppend` works in.
  int64_t (*ropeScratchFloats)(int64_t kvHeads, int64_t headDim);
  /// Rotates the queries and keys of tokens [begin, end), and stores them.
  void (*ropeAppend)(const RopeArgs &args, int64_t begin, int64_t end,
                     float *scratch);
  void (*run)(const AttentionArgs &args, const AttentionItem &item,
              float *scratch);
  /// Writes the output of an item from the states of its partitions.
  void (*merge)(const AttentionArgs &args, const AttentionItem &item,
                const float *partials, int64_t count, float *scratch);
};

/// The number of llmir_weight_format.
enum : int32_t { weightFormats = LLMIR_WEIGHT_W4A8 + 1 };

struct Table {
  LinearKernels linear[weightFormats];       ///< By llmir_weight_format.
  LinearKernels linearGroups[weightFormats]; ///< Quantized, not by whole rows.
  AttentionKernels attention;
};

namespace portable {
const Table &table();
}
namespace avx2 {
const Table &table();
}
namespace avx512 {
const Table &table();
}
namespace avx512_bf16 {
const Table &table();
}
namespace amx {
const Table &table();
/// Asks the operating system for the tile registers.
bool requestTiles();
} // namespace amx

} // namespace llmir::runtime::kernels

#endif // LLMIR_RUNTIME_LIB_KERNELS_KERNELS_H
