// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Keeps blocks of sequences that were computed, for others that begin with the
// same tokens. What a block holds depends on its tokens and on all before them;
// so the cache is a tree with a full block of tokens at each node, and the path
// from the root is a prefix.
#ifndef LLMIR_RUNTIME_PREFIX_CACHE_H
#define LLMIR_RUNTIME_PREFIX_CACHE_H

#include "llmir/runtime/kv_cache.h"

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

namespace llmir::runtime {

struct PrefixCacheStatistics {
  int64_t lookups = 0;
  /// The tokens of these prompts, and those of them that were there.
  int64_t askedTokens = 0, hitTokens = 0;
  int64_t cachedBlocks = 0;  ///< Now.
  int64_t evictedBlocks = 0; ///< Given back since others wanted blocks.
};

/// A radix tree over full blocks of token ids. It is one owner of each of its
/// blocks. Tokens are compared, not hashed. Not to be used from two threads at
/// once.
class PrefixCache {
public:
  /// Throws std::invalid_argument unless `blockSize` is positive.
  PrefixCache(std::shared_ptr<BlockAllocator> allocator, int64_t blockSize);
  ~PrefixCache();
  PrefixCache(const PrefixCache &) = delete;
  PrefixCache &operator=(const PrefixCache &) = delete;

  /// Appends the blocks of the longest prefix that is cached to `blocks`, with
  /// a reference of each for the caller, and returns how many tokens they hold.
  /// It is less than the whole prompt: of the last token the logits are wanted.
  int64_t match(const int32_t *tokens, int64_t count,
                std::vector<int32_t> &blocks);

  /// Keeps the full blocks of a sequence of these tokens; `blocks` is its
  /// table, and has a block for all of them. Where the same tokens are cached
  /// in another block already, the sequence gets a reference of that one for
  /// its own. A block that it gave back (-1) cannot be kept, and neither can
  /// what follows it, unless that prefix is cached already. Throws
  /// std::invalid_argument for a block that is cached for other tokens.
  void insert(const int32_t *tokens, int64_t count,
              std::vector<int32_t> &blocks);

  /// Keeps the full blocks of a prompt until `unpin`, whatever is wanted. False
  /// if they are not all cached, or none is full; then nothing has changed. A
  /// prompt may be pinned more than once.
  bool pin(const int32_t *tokens, int64_t count);
  /// Takes back one `pin` of the same tokens; false if there is none.
  bool unpin(const int32_t *tokens, int64_t count);

  /// Gives up to `count` blocks back that nobody else uses, those that were
  /// used longest ago first and ends of prefixes before their beginnings.
  /// Returns how many; if it is less, there are no more.
  int64_t evict(int64_t count);

  PrefixCacheStatistics statistics() const;

private:
  struct Node;
  using Nodes = std::list<std::unique_ptr<Node>>;

  Node *child(Node &node, const int32_t *tokens) const;
  Node *add(Node &parent, const int32_t *tokens, int32_t block);
  Node *find(const int32_t *tokens, int64_t count);
  void use(Node *node);
  void removeTree(Node *top);

  std::shared_ptr<BlockAllocator> allocator;
  int64_t blockSize;
  std::unique_ptr<Node> root;
  /// By last use, the oldest first, and each after its children.
  Nodes nodes;
  PrefixCacheStatistics counts;
};

} // namespace llmir::runtime

#endif // LLMIR_RUNTIME_PREFIX_CACHE_H
