#include <omp.h>

#include <algorithm>
#include <invar/core/lru_cache.hpp>
#include <invar/ops/cpu/onednn.hpp>
#include <invar/ops/cpu/primitive_cache.hpp>
#include <mutex>

namespace invar::cpu {
namespace onednn {
namespace {

class PrimitiveCache {
 public:
  PrimitiveCache() {
    // oneDNN keeps a cache of its own; two of them would hold everything twice.
    dnnl::set_primitive_cache_capacity(0);
  }

  Primitive find_or_make(const ProblemKey& key, const std::function<Primitive()>& make) {
    const std::lock_guard lock(mutex_);
    bool made = false;
    const Primitive& found = cache_.find_or_make(key, [&] {
      made = true;
      return make();
    });
    ++(made ? misses_ : hits_);
    return found;
  }

  PrimitiveCacheStats stats() {
    const std::lock_guard lock(mutex_);
    return {.entries = cache_.size(),
            .capacity = cache_.capacity(),
            .hits = hits_,
            .misses = misses_,
            .evictions = misses_ - cache_.size()};
  }

  void set_capacity(std::size_t capacity) {
    const std::lock_guard lock(mutex_);
    cache_.set_capacity(std::max<std::size_t>(capacity, 1));
  }

 private:
  std::mutex mutex_;
  LruCache<ProblemKey, Primitive> cache_{1024};  // ResNet-50 needs about 200, reorders included
  std::uint64_t hits_ = 0, misses_ = 0;
};

PrimitiveCache& cache() {
  static auto* const instance = new PrimitiveCache;  // never destroyed: see engine()
  return *instance;
}

[[noreturn]] void fail_onednn(std::string_view op, const dnnl::error& e) {
  if (e.status == dnnl_out_of_memory) fail(op, "out of memory in oneDNN: use a smaller batch");
  fail_internal(op, "oneDNN: {} (status {})", e.what(), static_cast<int>(e.status));
}

dnnl::stream& stream() {
  thread_local dnnl::stream instance(engine());
  return instance;
}

}  // namespace

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
      fail_internal("onednn", "oneDNN has no {}", dtype);
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

Primitive find_or_make(ProblemKey key, const std::function<Primitive()>& make) {
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

Tensor reordered(ProblemKey key, const Tensor& x, const dnnl::memory::desc& from,
                 const dnnl::memory::desc& to) {
  if (from == to) return x;
  Tensor out = bytes_for(to);
  reorder(std::move(key), x, from, out, to);
  return out;
}

void reorder(ProblemKey key, const Tensor& x, const dnnl::memory::desc& from, const Tensor& out,
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
