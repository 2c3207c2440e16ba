#include <omp.h>

#include <algorithm>
#include <invar/ops/cpu/onednn.hpp>
#include <invar/ops/cpu/primitive_cache.hpp>
#include <list>
#include <mutex>

namespace invar::cpu {
namespace onednn {
namespace {

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    std::size_t h = std::hash<std::string_view>()(key.op);
    for (std::int64_t n : key.numbers) {
      h = (h ^ static_cast<std::size_t>(n)) * 0x9E3779B97F4A7C15u;
      h ^= h >> 32;
    }
    return h;
  }
};

/// The most recently used primitive is at the front of `order`.
class PrimitiveCache {
 public:
  PrimitiveCache() {
    // oneDNN keeps a cache of its own; two of them would hold everything twice.
    dnnl::set_primitive_cache_capacity(0);
  }

  Primitive find_or_make(Key key, const std::function<Primitive()>& make) {
    std::lock_guard lock(mutex_);
    if (const auto found = index_.find(key); found != index_.end()) {
      ++stats_.hits;
      order_.splice(order_.begin(), order_, found->second);
      return found->second->second;
    }
    ++stats_.misses;
    Primitive made = make();
    order_.emplace_front(key, made);
    index_.emplace(std::move(key), order_.begin());
    shrink();
    return made;
  }

  PrimitiveCacheStats stats() {
    std::lock_guard lock(mutex_);
    stats_.entries = index_.size();
    return stats_;
  }

  void set_capacity(std::size_t capacity) {
    std::lock_guard lock(mutex_);
    stats_.capacity = std::max<std::size_t>(capacity, 1);
    shrink();
  }

 private:
  using Order = std::list<std::pair<Key, Primitive>>;

  void shrink() {
    for (; index_.size() > stats_.capacity; ++stats_.evictions) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
  }

  std::mutex mutex_;
  Order order_;
  std::unordered_map<Key, Order::iterator, KeyHash> index_;
  // ResNet-50 needs about 200, counting its reorders.
  PrimitiveCacheStats stats_{.capacity = 1024};
};

PrimitiveCache& cache() {
  static auto* const instance = new PrimitiveCache;  // never destroyed: see engine()
  return *instance;
}

[[noreturn]] void fail_onednn(std::string_view op, const dnnl::error& e) {
  if (e.status == dnnl_out_of_memory) fail(op, "out of memory in oneDNN: use a smaller batch");
  throw InternalError(fmt::format("[{}] internal error: oneDNN: {} (status {}): please report this",
                                  op, e.what(), static_cast<int>(e.status)));
}

dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

}  // namespace

Key& Key::add(const Dims& dims) {
  numbers.push_back(dims.size());
  numbers.insert(numbers.end(), dims.begin(), dims.end());
  return *this;
}

dnnl::engine& engine() {
  // Never destroyed: tensors and primitives in static variables may outlive every other object.
  static auto* const instance = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *instance;
}

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);
  return attributes;
}

dnnl::memory::data_type data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return dnnl::memory::data_type::f32;
    case DType::bf16:
      return dnnl::memory::data_type::bf16;
    case DType::i32:
      return dnnl::memory::data_type::s32;
    case DType::u8:
      return dnnl::memory::data_type::u8;
    default:
      throw InternalError(fmt::format("[onednn] internal error: oneDNN has no {}", dtype));
  }
}

dnnl::memory::dims dims(const Dims& d) { return {d.begin(), d.end()}; }

dnnl::memory::desc desc(const Tensor& x) { return desc(x.shape(), x.strides(), x.dtype()); }

dnnl::memory::desc desc(const Dims& shape, const Dims& strides, DType dtype) {
  return {dims(shape), data_type(dtype), dims(strides)};
}

dnnl::memory::desc any(const Dims& shape, DType dtype) {
  return {dims(shape), data_type(dtype), dnnl::memory::format_tag::any};
}

dnnl::memory memory(const Tensor& x, const dnnl::memory::desc& layout) {
  return {layout, engine(), x.raw_data()};
}
dnnl::memory memory(const Tensor& x) { return memory(x, desc(x)); }

Tensor bytes_for(const dnnl::memory::desc& layout) {
  return empty({static_cast<std::int64_t>(layout.get_size())}, {.dtype = DType::u8});
}

Primitive find_or_make(Key key, const std::function<Primitive()>& make) {
  key.add(omp_get_max_threads());
  try {
    return cache().find_or_make(key, make);
  } catch (const dnnl::error& e) {
    fail_onednn(key.op, e);
  }
}

void execute(const Primitive& primitive, std::unordered_map<int, dnnl::memory> arguments) {
  try {
    const dnnl::memory::desc layout = primitive.desc(dnnl::query::scratchpad_md);
    Tensor scratchpad;  // freed on return: execution is over by then
    if (layout.get_size() > 0) {
      scratchpad = bytes_for(layout);
      arguments[DNNL_ARG_SCRATCHPAD] = memory(scratchpad, layout);
    }
    primitive.run.execute(stream(), arguments);
    stream().wait();
  } catch (const dnnl::error& e) {
    fail_onednn("onednn", e);
  }
}

Tensor reordered(Key key, const Tensor& x, const dnnl::memory::desc& from,
                 const dnnl::memory::desc& to) {
  if (from == to) return x;
  Tensor out = bytes_for(to);
  reorder(std::move(key), x, from, out, to);
  return out;
}

void reorder(Key key, const Tensor& x, const dnnl::memory::desc& from, const Tensor& out,
             const dnnl::memory::desc& to) {
  const Primitive copy = primitive(std::move(key), [&] {
    return dnnl::reorder::primitive_desc(engine(), from, engine(), to, attributes());
  });
  execute(copy, {{DNNL_ARG_FROM, memory(x, from)}, {DNNL_ARG_TO, memory(out, to)}});
}

}  // namespace onednn

PrimitiveCacheStats primitive_cache_stats() { return onednn::cache().stats(); }

void set_primitive_cache_capacity(std::size_t capacity) { onednn::cache().set_capacity(capacity); }

}  // namespace invar::cpu
