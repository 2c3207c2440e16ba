#include <algorithm>
#include <chrono>
#include <invar/core/integers.hpp>
#include <invar/core/random.hpp>
#include <invar/data/loader.hpp>
#include <invar/ops/convert.hpp>
#include <numeric>
#include <utility>

namespace invar {
namespace {

// Small enough to share one batch among workers, large enough that taking a chunk costs nothing.
constexpr std::int64_t kChunk = 32;

constexpr std::size_t kMostViews = 255;  // a ViewKey numbers them up to 254

// Views use the streams from 2^56 on (Pipeline::draw), tensors use stream 0.
constexpr std::uint64_t kShuffleStream = 1;

int worker_count(int wanted) {
  if (wanted >= 0) return wanted;
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()) / 2, 1, 8);
}

std::vector<std::int64_t> epoch_order(const LoaderOptions& options, std::int64_t size,
                                      std::int64_t epoch) {
  if (!options.shuffle) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(size));
    std::iota(order.begin(), order.end(), 0);
    return order;
  }
  const std::uint64_t seed =
      wide_word(random_block(options.seed, static_cast<std::uint64_t>(epoch), kShuffleStream), 0);
  return random_permutation(seed, 0, static_cast<std::uint64_t>(size));
}

}  // namespace

/// A batch being made.
struct Loader::Job {
  Batch batch;
  Tensors params;  // f32 [B,P] of each view, if a GPU makes the views
  std::int64_t chunks = 0;
  std::int64_t taken = 0;  // chunks given to a thread
  std::int64_t made = 0;   // chunks finished
  std::exception_ptr error;
  std::int64_t error_chunk = 0;  // the first that failed, so that the same error is reported
};

/// What a thread needs to make samples.
struct Loader::Workspace {
  Sample sample;
  Canvas canvas;
  std::vector<float> params;
};

Loader::Loader(DatasetPtr dataset, std::vector<Pipeline> views, LoaderOptions options)
    : dataset_(std::move(dataset)),
      pipelines_(std::move(views)),
      options_(options),
      workspace_(std::make_unique<Workspace>()) {
  check(dataset_ != nullptr, "Loader", "expected a data set, got a null pointer");
  check(!pipelines_.empty(), "Loader", "expected at least one pipeline of transforms");
  check(pipelines_.size() <= kMostViews, "Loader", "expected at most {} views, got {}", kMostViews,
        pipelines_.size());
  check(options_.batch_size >= 1, "Loader", "expected batch_size >= 1, got {}",
        options_.batch_size);
  check(options_.prefetch >= 1, "Loader", "expected prefetch >= 1, got {}", options_.prefetch);
  check(options_.workers >= -1 && options_.workers <= 1024, "Loader",
        "expected workers in [0, 1024], or -1 for a default, got {}", options_.workers);
  check(options_.epochs >= 0, "Loader", "expected epochs >= 0, got {}", options_.epochs);
  const std::int64_t size = dataset_->size();
  check(size >= 1, "Loader", "expected a data set with images, got an empty one");
  check(
      !options_.drop_last || size >= options_.batch_size, "Loader",
      "expected at least one batch of {} images, the data set has {}: choose batch_size <= {} (or, "
      "where a program makes the loader, drop_last = false)",
      options_.batch_size, size, size);
  steps_per_epoch_ =
      options_.drop_last ? size / options_.batch_size : ceil_div(size, options_.batch_size);
  for (const Pipeline& pipeline : pipelines_) {
    view_shapes_.push_back(pipeline.output_shape(dataset_->shape()));
  }
  if (options_.device.type == DeviceType::cuda && options_.views_on_gpu && !cpu_only()) {
    images_ = std::make_unique<DeviceImages>(*dataset_, options_.device);
  }
  const int workers = worker_count(options_.workers);
  try {
    for (int i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    // Fewer workers make the same batches.
    check(!threads_.empty(), "Loader", "could not start a worker thread ({}): set workers = 0",
          error.what());
  }
}

std::optional<std::string> Loader::cpu_only() const {
  for (const Pipeline& pipeline : pipelines_) {
    if (auto name = pipeline.cpu_only(dataset_->shape())) return name;
  }
  return std::nullopt;
}

Loader::~Loader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_wanted_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Loader::start(std::int64_t epoch, std::int64_t step) {
  check(epoch >= 0 && step >= 0 && step <= steps_per_epoch_, "Loader::start",
        "expected epoch >= 0 and step in [0, {}], got epoch {}, step {}", steps_per_epoch_, epoch,
        step);
  {
    const std::lock_guard lock(mutex_);
    jobs_.clear();  // a chunk still in the making keeps its job alive and harms nobody
    epoch_ = epoch;
    step_ = step;
    if (step_ == steps_per_epoch_) {
      step_ = 0;
      ++epoch_;
    }
    error_ = nullptr;
  }
  work_wanted_.notify_all();
}

bool Loader::done() const {
  const std::lock_guard lock(mutex_);
  return jobs_.empty() && at_end();
}

Batch Loader::next() {
  const auto begin = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  for (;;) {
    if (error_) std::rethrow_exception(error_);
    check(!jobs_.empty() || !at_end(), "Loader::next",
          "expected a batch after the last of {} epochs: ask done() before", options_.epochs);
    std::int64_t chunk = 0;
    if (const std::shared_ptr<Job> job = take_chunk(true, chunk)) {
      lock.unlock();
      std::exception_ptr error;
      try {
        make_chunk(*job, chunk, *workspace_);
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      finish_chunk(*job, chunk, error);
    }
    const std::shared_ptr<Job> first = jobs_.front();
    if (first->made == first->chunks) {
      if (first->error) {
        error_ = first->error;
        continue;
      }
      jobs_.pop_front();
      lock.unlock();
      work_wanted_.notify_all();
      Batch batch = deliver(*first);
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
      seconds_waited_ += spent.count();
      return batch;
    }
    if (first->taken == first->chunks) chunk_done_.wait(lock);
  }
}

void Loader::work() {
  Workspace workspace;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    std::int64_t chunk = 0;
    std::exception_ptr error;
    std::shared_ptr<Job> job;
    try {
      job = take_chunk(false, chunk);
    } catch (...) {  // out of memory for the tensors of a new batch
      error_ = std::current_exception();
      chunk_done_.notify_all();
    }
    if (!job) {
      work_wanted_.wait(lock);
      continue;
    }
    lock.unlock();
    try {
      make_chunk(*job, chunk, workspace);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    finish_chunk(*job, chunk, error);
  }
}

std::shared_ptr<Loader::Job> Loader::take_chunk(bool only_first, std::int64_t& chunk) {
  if (error_) return nullptr;
  for (const std::shared_ptr<Job>& job : jobs_) {
    if (job->taken < job->chunks) {
      chunk = job->taken++;
      return job;
    }
    if (only_first) return nullptr;
  }
  if (static_cast<int>(jobs_.size()) >= options_.prefetch || at_end()) return nullptr;
  jobs_.push_back(open_job());
  chunk = jobs_.back()->taken++;
  // Whoever sleeps may find more chunks in the new job, or the consumer its first.
  work_wanted_.notify_all();
  chunk_done_.notify_all();
  return jobs_.back();
}

std::shared_ptr<Loader::Job> Loader::open_job() {
  if (order_epoch_ != epoch_) {
    order_ = epoch_order(options_, dataset_->size(), epoch_);
    order_epoch_ = epoch_;
  }
  const std::int64_t begin = step_ * options_.batch_size;
  const std::int64_t size = std::min(options_.batch_size, dataset_->size() - begin);
  auto job = std::make_shared<Job>();
  Batch& batch = job->batch;
  for (std::size_t v = 0; v < pipelines_.size(); ++v) {
    const ImageShape& shape = view_shapes_[v];
    if (images_) {
      job->params.push_back(empty({size, pipelines_[v].param_count()}));
    } else {
      batch.views.push_back(empty({size, shape.height, shape.width, shape.channels}));
    }
  }
  batch.labels = empty({size}, {.dtype = DType::i64});
  batch.indices = empty({size}, {.dtype = DType::i64});
  std::copy_n(order_.begin() + begin, size, batch.indices.data<std::int64_t>());
  batch.epoch = epoch_;
  batch.step = step_;
  job->chunks = ceil_div(size, kChunk);
  if (++step_ == steps_per_epoch_) {
    step_ = 0;
    ++epoch_;
  }
  return job;
}

void Loader::make_chunk(Job& job, std::int64_t chunk, Workspace& workspace) const {
  const Batch& batch = job.batch;
  const auto* const indices = batch.indices.data<std::int64_t>();
  auto* const labels = batch.labels.data<std::int64_t>();
  const std::int64_t end = std::min((chunk + 1) * kChunk, batch.indices.numel());
  const Image& image = workspace.sample.image;
  for (std::int64_t i = chunk * kChunk; i < end; ++i) {
    if (!images_) dataset_->read(indices[i], workspace.sample);
    labels[i] = images_ ? images_->label(indices[i]) : workspace.sample.label;
    const ImageShape shape = images_ ? images_->shape(indices[i]) : image.shape;
    for (std::size_t v = 0; v < pipelines_.size(); ++v) {
      const Pipeline& pipeline = pipelines_[v];
      const ViewKey key{options_.seed, batch.epoch, indices[i], static_cast<int>(v)};
      const auto count = static_cast<std::size_t>(pipeline.param_count());
      if (images_) {
        float* const row = job.params[v].data<float>() + static_cast<std::size_t>(i) * count;
        pipeline.draw(key, shape, {row, count});
        continue;
      }
      workspace.params.resize(count);
      pipeline.draw(key, shape, workspace.params);
      const std::size_t size = view_shapes_[v].size();
      float* const out = batch.views[v].data<float>() + static_cast<std::size_t>(i) * size;
      pipeline.apply(image, workspace.params, workspace.canvas, {out, size});
      // A view of as many numbers may still be of another shape.
      const ImageShape made = workspace.canvas.shape(), &expected = view_shapes_[v];
      check(made == expected, "Loader",
            "expected a view [{},{},{}], got [{},{},{}] of an image [{},{},{}]: are all images of "
            "the shape that Dataset::shape() tells?",
            expected.height, expected.width, expected.channels, made.height, made.width,
            made.channels, shape.height, shape.width, shape.channels);
    }
  }
}

Batch Loader::deliver(Job& job) const {
  Batch batch = std::move(job.batch);
  if (options_.device == kCpu) return batch;
  const auto upload = [&](const Tensor& x) {
    return x.numel() == 0 ? to(x, options_.device) : to(pin_memory(x), options_.device, true);
  };
  batch.labels = upload(batch.labels);
  for (Tensor& view : batch.views) view = upload(view);
  if (!images_) return batch;
  const Tensor indices = upload(batch.indices);
  for (std::size_t v = 0; v < pipelines_.size(); ++v) {
    batch.views.push_back(
        pipelines_[v].apply(images_->stored(), dataset_->shape(), indices, upload(job.params[v])));
  }
  return batch;
}

void Loader::finish_chunk(Job& job, std::int64_t chunk, std::exception_ptr error) {
  ++job.made;
  if (error && (!job.error || chunk < job.error_chunk)) {
    job.error = std::move(error);
    job.error_chunk = chunk;
  }
  if (job.made == job.chunks) chunk_done_.notify_all();
}

}  // namespace invar
