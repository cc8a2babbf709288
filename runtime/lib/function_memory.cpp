// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Two allocators for a few dozen blocks each: lists that are searched from the
// front beat anything clever.
#include "function_memory.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace llmir::runtime {

namespace {

constexpr size_t alignment = 64;

/// Further than any memory.
constexpr int64_t mostBytes = int64_t(1) << 46;

size_t roundUp(size_t bytes) {
  return (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
}

/// What of results that came back is kept for the next ones.
constexpr size_t mostKept = 16, mostKeptBytes = size_t(256) << 20;

constexpr const char *tooLarge =
    "there is not enough memory for what this call computes; call it with "
    "smaller inputs";

} // namespace

Arena::~Arena() {
  for (Range piece : pieces)
    std::free(piece.begin);
}

bool Arena::grow(size_t bytes) {
  // At least as much again: a first call ends up with a handful of pieces.
  bytes = std::max(bytes, std::max(held, size_t(1) << 16));
  auto *begin = static_cast<char *>(std::aligned_alloc(alignment, bytes));
  if (!begin)
    return false;
  Range piece = {begin, begin + bytes};
  pieces.push_back(piece);
  held += bytes;
  free.insert(std::upper_bound(free.begin(), free.end(), piece,
                               [](const Range &a, const Range &b) {
                                 return a.begin < b.begin;
                               }),
              piece);
  return true;
}

void *Arena::allocate(size_t bytes) {
  bytes = roundUp(bytes);
  for (int turn = 0; turn < 2; ++turn) {
    for (size_t i = 0; i < free.size(); ++i) {
      Range &range = free[i];
      if (size_t(range.end - range.begin) < bytes)
        continue;
      Range block = {range.begin, range.begin + bytes};
      range.begin = block.end;
      if (range.begin == range.end)
        free.erase(free.begin() + i);
      used.push_back(block);
      return block.begin;
    }
    if (!grow(bytes))
      return nullptr;
  }
  return nullptr;
}

void Arena::release(void *data) {
  // What was made last mostly goes first.
  for (size_t i = used.size(); i-- > 0;) {
    if (used[i].begin != data)
      continue;
    Range block = used[i];
    used.erase(used.begin() + i);
    size_t at = 0;
    while (at < free.size() && free[at].begin < block.begin)
      ++at;
    // Neighbours of one piece are one again.
    auto isPieceBegin = [&](char *begin) {
      return std::any_of(pieces.begin(), pieces.end(), [&](const Range &piece) {
        return piece.begin == begin;
      });
    };
    bool joinsNext = at < free.size() && free[at].begin == block.end &&
                     !isPieceBegin(block.end);
    bool joinsLast =
        at > 0 && free[at - 1].end == block.begin && !isPieceBegin(block.begin);
    if (joinsLast) {
      free[at - 1].end = joinsNext ? free[at].end : block.end;
      if (joinsNext)
        free.erase(free.begin() + at);
    } else if (joinsNext) {
      free[at].begin = block.begin;
    } else {
      free.insert(free.begin() + at, block);
    }
    return;
  }
}

void Arena::reset() {
  used.clear();
  free.clear();
  if (pieces.size() > 1) {
    size_t all = held;
    for (Range piece : pieces)
      std::free(piece.begin);
    pieces.clear();
    held = 0;
    grow(all);
    return;
  }
  free = pieces;
}

struct ResultPool::Header {
  size_t bytes;
};

ResultPool &ResultPool::shared() {
  // Never destroyed: arrays may be given back while the process ends.
  static auto *pool = new ResultPool;
  return *pool;
}

ResultPool::~ResultPool() {
  for (Header *header : kept)
    std::free(header);
}

void *ResultPool::take(size_t bytes) {
  bytes = roundUp(bytes);
  {
    std::lock_guard<std::mutex> lock(mutex);
    size_t best = kept.size();
    for (size_t i = 0; i < kept.size(); ++i)
      if (kept[i]->bytes >= bytes && kept[i]->bytes / 2 <= bytes &&
          (best == kept.size() || kept[i]->bytes < kept[best]->bytes))
        best = i;
    if (best < kept.size()) {
      Header *header = kept[best];
      kept.erase(kept.begin() + best);
      keptBytes -= header->bytes;
      return reinterpret_cast<char *>(header) + alignment;
    }
  }
  void *memory = std::aligned_alloc(alignment, alignment + bytes);
  if (!memory)
    return nullptr;
  new (memory) Header{bytes};
  return static_cast<char *>(memory) + alignment;
}

void ResultPool::give(void *data) {
  auto *header =
      reinterpret_cast<Header *>(static_cast<char *>(data) - alignment);
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (kept.size() < mostKept && keptBytes + header->bytes <= mostKeptBytes) {
      kept.push_back(header);
      keptBytes += header->bytes;
      return;
    }
  }
  std::free(header);
}

void *FunctionCall::allocate(int64_t bytes) {
  void *data = nullptr;
  if (bytes >= 0 && bytes <= mostBytes)
    data = arena.allocate(size_t(bytes));
  if (!data)
    fail(tooLarge);
  return data;
}

void *FunctionCall::allocateResult(int64_t result, int64_t bytes) {
  void *data = nullptr;
  if (bytes >= 0 && bytes <= mostBytes)
    data = ResultPool::shared().take(size_t(bytes));
  if (!data)
    fail(tooLarge);
  results[result] = data;
  return data;
}

void FunctionCall::fail(const char *text) {
  message = text;
  std::longjmp(end, 1);
}

} // namespace llmir::runtime
