// Optimisers: one launch serves as many tensors as the arguments of a kernel hold.
#include <algorithm>
#include <invar/ops/cuda/kernels.hpp>
#include <invar/ops/cuda/launch.cuh>
#include <invar/ops/functors/optimizer.hpp>

namespace invar::cuda {
namespace {

/// Calls f(batch) for batches that hold all entries.
template <class Entry, class F>
void for_batches(const std::vector<Entry>& entries, const F& f) {
  functors::Batch<Entry> batch{};
  static_assert(sizeof(batch) <= 4000, "every GPU takes 4 KiB of arguments");
  for (std::size_t begin = 0; begin < entries.size(); begin += batch.kMost) {
    batch.fill(entries.data() + begin, entries.size() - begin);
    f(batch);
  }
}

template <class Entry>
void for_each_entry(const char* op, const Tensor& like, const std::vector<Entry>& entries) {
  for_batches(entries, [&](const functors::Batch<Entry>& batch) {
    for_each(op, like, batch.blocks() * batch.kThreads, functors::UpdateEntries<Entry>{batch});
  });
}

/// Calls f.operator()<T>(which) with the entries of each dtype.
template <class F>
void visit_dtypes(const Tensors& list, const F& f) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    std::vector<std::size_t> which;
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (list[i].dtype() == dtype) which.push_back(i);
    }
    if (which.empty()) continue;
    visit_real(dtype, "optimizer", [&]<class T>() { f.template operator()<T>(which); });
  }
}

/// make(i) for some of a list.
template <class F>
auto entries_of(const std::vector<std::size_t>& which, const F& make) {
  std::vector<decltype(make(std::size_t{0}))> entries;
  entries.reserve(which.size());
  for (const std::size_t i : which) entries.push_back(make(i));
  return entries;
}

}  // namespace

void sgd_step(std::span<const SgdStep> steps, const Tensors& parameters, const Tensors& gradients,
              const Tensors& momenta, const Tensor& norms) {
  const std::size_t n = parameters.size();
  const double* const squares = norms.defined() ? norms.data<const double>() : nullptr;
  visit_dtypes(parameters, [&]<class T>(const std::vector<std::size_t>& which) {
    for_each_entry("sgd_step_", parameters[0], entries_of(which, [&](std::size_t i) {
                     return functors::SgdEntry<T>{
                         parameters[i].data<T>(),
                         gradients[i].data<const T>(),
                         momenta[i].defined() ? momenta[i].data<T>() : nullptr,
                         parameters[i].numel(),
                         steps[i],
                         squares ? squares + i : nullptr,
                         squares ? squares + n + i : nullptr};
                   }));
  });
}

void adam_step(std::span<const AdamStep> steps, const Tensors& parameters, const Tensors& gradients,
               const Tensors& means, const Tensors& squares) {
  visit_dtypes(parameters, [&]<class T>(const std::vector<std::size_t>& which) {
    for_each_entry("adam_step_", parameters[0], entries_of(which, [&](std::size_t i) {
                     return functors::AdamEntry<T>{
                         parameters[i].data<T>(), gradients[i].data<const T>(),
                         means[i].data<T>(),      squares[i].data<T>(),
                         parameters[i].numel(),   functors::AdamUpdate<T>(steps[i])};
                   }));
  });
}

void lerp(double weight, const Tensors& xs, const Tensors& ys) {
  visit_dtypes(xs, [&]<class T>(const std::vector<std::size_t>& which) {
    for_each_entry("lerp_", xs[0], entries_of(which, [&](std::size_t i) {
                     return functors::LerpEntry<T>{xs[i].data<T>(), ys[i].data<const T>(),
                                                   xs[i].numel(),
                                                   functors::Lerp<T>{static_cast<T>(weight)}};
                   }));
  });
}

// Added up by thread, then by block, then by entry.
void squared_norms(const Tensors& xs, std::span<const double> factors, const Tensors& ys,
                   const Tensor& out) {
  constexpr const char* kOp = "squared_norm";
  visit_dtypes(xs, [&]<class T>(const std::vector<std::size_t>& which) {
    using Entry = functors::SquaredNormEntry<T>;
    const auto entries = entries_of(which, [&](std::size_t i) {
      return Entry{xs[i].data<const T>(), ys[i].defined() ? ys[i].data<const T>() : nullptr,
                   xs[i].numel(), static_cast<T>(factors[i]), out.data<double>() + i};
    });
    for_batches(entries, [&](const functors::Batch<Entry>& batch) {
      const TensorOptions f64{.dtype = DType::f64, .device = out.device()};
      const Tensor of_threads = empty({batch.blocks(), batch.kThreads}, f64);
      const Tensor of_blocks = empty({batch.blocks(), 1}, f64);
      for_each(kOp, out, of_threads.numel(),
               functors::SumEntries<Entry>{batch, of_threads.data<double>()});
      reduce(ReduceOp::sum, {}, of_threads, of_blocks);
      for_each(kOp, out, batch.size,
               functors::SumBlocks<Entry>{batch, of_blocks.data<const double>()});
    });
  });
}

}  // namespace invar::cuda
