// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tree of cached prefixes. A prefix that is used takes its whole path to
// the end of the list of nodes, the root's side last, so that a node stands
// after its children and eviction finds leaves first by walking the list.
#include "llmir/runtime/prefix_cache.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace llmir::runtime {

namespace {

/// A block of tokens that a node or a caller has.
struct Key {
  const int32_t *tokens;
  int64_t size;

  bool operator<(const Key &other) const {
    return std::lexicographical_compare(tokens, tokens + size, other.tokens,
                                        other.tokens + other.size);
  }
};

} // namespace

struct PrefixCache::Node {
  std::vector<int32_t> tokens;
  int32_t block = -1;
  Node *parent = nullptr;
  std::map<Key, Node *> children;
  int64_t pins = 0; ///< Of prompts that end here.
  Nodes::iterator self;
};

PrefixCache::PrefixCache(std::shared_ptr<BlockAllocator> allocator,
                         int64_t blockSize)
    : allocator(std::move(allocator)), blockSize(blockSize),
      root(std::make_unique<Node>()) {
  if (blockSize < 1)
    throw std::invalid_argument("a prefix cache's blocks cannot have " +
                                std::to_string(blockSize) + " tokens");
}

PrefixCache::~PrefixCache() {
  for (const std::unique_ptr<Node> &node : nodes) {
    for (Node *up = node.get(); up != root.get(); up = up->parent)
      for (int64_t pin = 0; pin < node->pins; ++pin)
        allocator->release(up->block);
    allocator->setCached(node->block, false);
    allocator->release(node->block);
  }
}

PrefixCache::Node *PrefixCache::child(Node &node, const int32_t *tokens) const {
  auto found = node.children.find({tokens, blockSize});
  return found == node.children.end() ? nullptr : found->second;
}

/// The node at which the full blocks of `tokens` end, or null.
PrefixCache::Node *PrefixCache::find(const int32_t *tokens, int64_t count) {
  Node *node = root.get();
  for (int64_t end = blockSize; node && end <= count; end += blockSize)
    node = child(*node, tokens + end - blockSize);
  return node == root.get() ? nullptr : node;
}

void PrefixCache::use(Node *node) {
  for (; node != root.get(); node = node->parent)
    nodes.splice(nodes.end(), nodes, node->self);
}

int64_t PrefixCache::match(const int32_t *tokens, int64_t count,
                           std::vector<int32_t> &blocks) {
  Node *node = root.get();
  int64_t length = 0;
  while (length + blockSize < count) {
    Node *next = child(*node, tokens + length);
    if (!next)
      break;
    node = next;
    blocks.push_back(node->block);
    allocator->retain(node->block);
    length += blockSize;
  }
  use(node);
  ++counts.lookups;
  counts.askedTokens += count;
  counts.hitTokens += length;
  return length;
}

PrefixCache::Node *PrefixCache::add(Node &parent, const int32_t *tokens,
                                    int32_t block) {
  if (allocator->isCached(block))
    throw std::invalid_argument("block " + std::to_string(block) +
                                " is cached for other tokens");
  allocator->retain(block);
  allocator->setCached(block, true);
  auto node = std::make_unique<Node>();
  node->tokens.assign(tokens, tokens + blockSize);
  node->block = block;
  node->parent = &parent;
  Node *result = node.get();
  parent.children.emplace(Key{result->tokens.data(), blockSize}, result);
  // Before its parent, which it stays.
  result->self = nodes.insert(nodes.begin(), std::move(node));
  return result;
}

void PrefixCache::insert(const int32_t *tokens, int64_t count,
                         std::vector<int32_t> &blocks) {
  int64_t full = count / blockSize;
  if (full > int64_t(blocks.size()))
    throw std::invalid_argument(
        std::to_string(count) +
        " tokens cannot be cached: their sequence has " +
        std::to_string(blocks.size()) + " blocks of " +
        std::to_string(blockSize) + " tokens");
  Node *node = root.get();
  for (int64_t i = 0; i < full; ++i) {
    const int32_t *begin = tokens + i * blockSize;
    Node *next = child(*node, begin);
    int32_t &block = blocks[i];
    if (!next) {
      if (block < 0)
        break;
      next = add(*node, begin, block);
    } else if (block >= 0 && block != next->block) {
      allocator->retain(next->block);
      allocator->release(block);
      block = next->block;
    }
    node = next;
  }
  use(node);
}

bool PrefixCache::pin(const int32_t *tokens, int64_t count) {
  Node *node = find(tokens, count);
  if (!node)
    return false;
  use(node);
  ++node->pins;
  for (; node != root.get(); node = node->parent)
    allocator->retain(node->block);
  return true;
}

bool PrefixCache::unpin(const int32_t *tokens, int64_t count) {
  Node *node = find(tokens, count);
  if (!node || node->pins == 0)
    return false;
  --node->pins;
  for (; node != root.get(); node = node->parent)
    allocator->release(node->block);
  return true;
}

/// Takes a node and all below it out of the tree. One that is pinned is below
/// none that can be given up.
void PrefixCache::removeTree(Node *top) {
  Node *end = top->parent;
  for (Node *node = top; node != end;) {
    if (!node->children.empty()) {
      node = node->children.begin()->second;
      continue;
    }
    Node *parent = node->parent;
    parent->children.erase({node->tokens.data(), blockSize});
    allocator->setCached(node->block, false);
    allocator->release(node->block);
    nodes.erase(node->self);
    node = parent;
  }
}

int64_t PrefixCache::evict(int64_t count) {
  int64_t freed = 0;
  for (auto at = nodes.begin(); at != nodes.end() && freed < count;) {
    Node *node = (at++)->get();
    if (allocator->useCount(node->block) > 1)
      continue;
    // What is below it still is in use, by sequences that have another block in
    // this one's place, and cannot be found any more.
    removeTree(node);
    ++freed;
  }
  counts.evictedBlocks += freed;
  return freed;
}

PrefixCacheStatistics PrefixCache::statistics() const {
  PrefixCacheStatistics result = counts;
  result.cachedBlocks = nodes.size();
  return result;
}

} // namespace llmir::runtime
