#pragma once
// Loader: batches of augmented views, made ahead of time by threads.
//
//   Dataset --read--> Image --Pipeline per view--> f32 [H,W,C] --> Batch of tensors
//
// For a GPU (options.device) the threads only draw the parameters of the views; `next` starts the
// making of the views there, from images that the GPU keeps, and does not wait for it:
//
//   DeviceImages ----------------+
//   parameters of the batch -----+--Pipeline per view--> Batch of tensors on the GPU
//
// The parameters are the CPU's, the pixels differ by rounding. Where a transform is for the CPU
// only (see cpu_only), views are made there and copied.
//
// A batch is a pure function of (options.seed, epoch, step): workers only decide when it is made.
// So any number of workers gives the same batches, and training resumes exactly with
// start(epoch, step), which costs nothing.
//
//   Loader loader(dataset, views, {.batch_size = 256, .seed = 1});
//   loader.start(epoch, step);                      // only to resume; it begins at (0, 0)
//   for (;;) { Batch batch = loader.next(); ... }   // epoch after epoch; batch.epoch, batch.step
//
// How it works: batches being made stand in a queue, at most options.prefetch long, in the order of
// delivery. A worker takes the next chunk of samples of the first batch that has one left, or opens
// a new batch. The consumer takes the first batch, working on its chunks itself while it waits;
// with no workers it does all of it.
//
// An exception on a worker (a file that cannot be read, a transform that fails) comes out of the
// `next` that would have returned its batch, and out of every later one until `start`.
//
// Threads: `start`, `next` and the destructor are for one thread at a time. Workers are
// std::threads that never enter OpenMP. The destructor may be called at any moment; it waits for
// one chunk at most.
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <invar/core/tensor.hpp>
#include <invar/data/dataset.hpp>
#include <invar/data/device_images.hpp>
#include <invar/data/pipeline.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace invar {

struct LoaderOptions {
  std::int64_t batch_size = 256;
  /// A new order every epoch; otherwise 0, 1, 2, ...
  bool shuffle = true;
  /// Leaves out the samples that do not fill a batch; otherwise the last batch is smaller.
  bool drop_last = true;
  std::uint64_t seed = 0;
  /// Threads beside the caller's; 0: none; -1: half as many as there are cores, 1 to 8.
  int workers = -1;
  /// Batches in the making or waiting.
  int prefetch = 4;
  /// Ends after this many epochs (epoch numbers start at 0); 0: never.
  std::int64_t epochs = 0;
  /// Where views and labels are.
  Device device = kCpu;
  /// False: even if `device` is a GPU, views are made on the CPU: the GPU has no memory for images.
  bool views_on_gpu = true;
};

struct Batch {
  /// One f32 [B,H,W,C] per pipeline, on options.device.
  Tensors views;
  /// i64 [B]; -1 without labels. On options.device.
  Tensor labels;
  /// i64 [B]: the samples' numbers in the data set. On the CPU.
  Tensor indices;
  std::int64_t epoch = 0;
  /// Within the epoch.
  std::int64_t step = 0;
};

class Loader {
 public:
  /// Error if the data set is smaller than a batch that may not be incomplete, or if a pipeline
  /// does not suit its images.
  Loader(DatasetPtr dataset, std::vector<Pipeline> views, LoaderOptions options = {});
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }
  /// Shape of the images of each view.
  const std::vector<ImageShape>& view_shapes() const { return view_shapes_; }

  /// True iff a GPU makes the views.
  bool views_on_gpu() const { return images_ != nullptr; }
  /// The name of the first transform that has no form for a GPU.
  std::optional<std::string> cpu_only() const;

  /// The next batch is that of (epoch, step), 0 <= step <= steps_per_epoch().
  void start(std::int64_t epoch, std::int64_t step = 0);

  /// The next batch. Error if done().
  Batch next();

  /// True iff options.epochs epochs have been delivered.
  bool done() const;

  /// Seconds spent in `next` since the start: what training lost to data.
  double seconds_waited() const { return seconds_waited_; }

 private:
  struct Job;
  struct Workspace;

  void work();
  /// A chunk of the first job that has one left, opening a new job if allowed; nullptr if none.
  std::shared_ptr<Job> take_chunk(bool only_first, std::int64_t& chunk);
  std::shared_ptr<Job> open_job();
  void make_chunk(Job& job, std::int64_t chunk, Workspace& workspace) const;
  void finish_chunk(Job& job, std::int64_t chunk, std::exception_ptr error);
  /// A batch that has been made, on options.device.
  Batch deliver(Job& job) const;
  bool at_end() const { return options_.epochs > 0 && epoch_ >= options_.epochs; }

  DatasetPtr dataset_;
  std::vector<Pipeline> pipelines_;
  std::vector<ImageShape> view_shapes_;
  LoaderOptions options_;
  std::unique_ptr<const DeviceImages> images_;  // if a GPU makes the views
  std::int64_t steps_per_epoch_ = 0;
  double seconds_waited_ = 0;
  std::unique_ptr<Workspace> workspace_;  // the consumer's

  mutable std::mutex mutex_;  // guards everything below
  std::condition_variable work_wanted_, chunk_done_;
  std::deque<std::shared_ptr<Job>> jobs_;  // front: the next to be delivered
  std::int64_t epoch_ = 0, step_ = 0;      // of the next job to be opened
  std::int64_t order_epoch_ = -1;          // the epoch whose order order_ holds
  std::vector<std::int64_t> order_;
  std::exception_ptr error_;
  bool stopping_ = false;

  std::vector<std::thread> threads_;
};

}  // namespace invar
