#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <invar/core/cuda/error.hpp>
#include <invar/core/cuda/runtime.hpp>
#include <invar/core/cuda/stream.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace invar::cuda {
namespace {

constexpr int kMostDevices = 64;

void check_index(int index) {
  static const int count = device_count();
  check(index >= 0 && index < count, "cuda", "expected one of {} GPUs, got cuda:{}{}", count, index,
        count == 0 ? ": is there a GPU, and an NVIDIA driver as new as this build's CUDA?" : "");
}

void use_device(int index, const char* op) { check_cuda(cudaSetDevice(index), op); }

// --- memory: a cache per GPU and stream

RawMemory raw_memory(int index);

class Caches {
 public:
  Caches() {
    for (int i = 0; i < kMostDevices; ++i) {
      gpus_[i].raw = raw_memory(i);
      gpus_[i].of_default_stream = std::make_unique<CachingAllocator>(gpus_[i].raw);
    }
  }

  CachingAllocator& of(int index, cudaStream_t stream) {
    Gpu& gpu = gpus_[index];
    if (!stream) return *gpu.of_default_stream;
    const std::lock_guard lock(mutex_);
    auto& cache = gpu.of_streams[stream];
    if (!cache) cache = std::make_unique<CachingAllocator>(gpu.raw);
    return *cache;
  }

  CachingAllocator* add_for_graphs(int index) {
    const std::lock_guard lock(mutex_);
    auto& caches = gpus_[index].of_graphs;
    return caches.emplace_back(std::make_unique<CachingAllocator>(gpus_[index].raw)).get();
  }

  /// Gives back what the GPU's other streams and graphs hold and do not use.
  void empty_others(int index, const CachingAllocator& own) {
    Gpu& gpu = gpus_[index];
    const auto empty = [&](CachingAllocator& cache) {
      if (&cache != &own) cache.try_empty_cache();
    };
    const std::lock_guard lock(mutex_);
    empty(*gpu.of_default_stream);
    for (auto& [stream, cache] : gpu.of_streams) empty(*cache);
    for (const auto& cache : gpu.of_graphs) empty(*cache);
  }

 private:
  struct Gpu {
    RawMemory raw;
    std::unique_ptr<CachingAllocator> of_default_stream;
    std::map<cudaStream_t, std::unique_ptr<CachingAllocator>> of_streams;
    std::vector<std::unique_ptr<CachingAllocator>> of_graphs;
  };
  std::array<Gpu, kMostDevices> gpus_;
  std::mutex mutex_;  // of the maps
};

// Here and below: never destroyed, since tensors in static variables may outlive every other static
// object.
Caches& caches() {
  static auto* const made = new Caches;
  return *made;
}

thread_local bool recording = false;
std::atomic<int> recordings = 0;  ///< of all threads

/// For what has to go on: a failure does not become that of the next call.
void let_pass(cudaError_t result) noexcept {
  if (result != cudaSuccess) cudaGetLastError();
}

/// Null if there is no memory.
void* try_malloc(std::size_t bytes) {
  void* block = nullptr;
  const cudaError_t result = cudaMalloc(&block, bytes);
  if (result == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it is told by the null pointer
    return nullptr;
  }
  check_cuda(result, "allocate");
  return block;
}

RawMemory raw_memory(int index) {
  return {.allocate = [index](std::size_t bytes) -> void* {
            use_device(index, "allocate");
            void* block = try_malloc(bytes);
            if (!block && !recording) {  // begin_recording has emptied them
              caches().empty_others(index, allocator(index));
              block = try_malloc(bytes);
            }
            return block;
          },
          .release =
              [index](void* block, std::size_t) {
                cudaSetDevice(index);
                // Work that was given to the GPU may use the block still, and cudaFree need not
                // wait for it. A stream that is recorded must not be waited for.
                if (recordings == 0) let_pass(cudaDeviceSynchronize());
                let_pass(cudaFree(block));
              },
          .available = [index]() -> std::size_t {
            std::size_t free = 0, total = 0;
            use_device(index, "allocate");
            check_cuda(cudaMemGetInfo(&free, &total), "allocate");
            return free;
          }};
}

thread_local std::array<cudaStream_t, kMostDevices> current_streams{};
thread_local std::array<CachingAllocator*, kMostDevices> own_allocators{};

}  // namespace

void check_not_recording(const char* what) {
  check(!recording, "graph",
        "expected work that can be recorded, got {}: leave it out of the graph", what);
}

bool is_built() { return true; }

int device_count() {
  int count = 0;
  const cudaError_t result = cudaGetDeviceCount(&count);
  // No driver, or not one for this build's CUDA: as good as no GPU.
  for (const cudaError_t none :
       {cudaErrorNoDevice, cudaErrorInsufficientDriver, cudaErrorSystemDriverMismatch,
        cudaErrorStubLibrary, cudaErrorCompatNotSupportedOnDevice}) {
    if (result == none) return 0;
  }
  check(result == cudaSuccess, "cuda", "expected GPUs that can be used, got an error: {}",
        cudaGetErrorString(result));
  return std::min(count, kMostDevices);
}

CachingAllocator& allocator(int index) {
  check_index(index);
  if (own_allocators[index]) return *own_allocators[index];
  return caches().of(index, current_streams[index]);
}

// --- copies

void copy_bytes(void* to, Device to_device, const void* from, Device from_device,
                std::size_t bytes) {
  if (bytes == 0) return;
  check_not_recording("a copy between CPU and GPU");
  const bool to_gpu = to_device.type == DeviceType::cuda;
  if (to_gpu && from_device.type == DeviceType::cuda) synchronize(from_device);
  const Device gpu = to_gpu ? to_device : from_device;
  check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, current_stream(gpu.index)), "to");
  synchronize(gpu);
}

namespace {

CachingAllocator& pinned_allocator() {
  static auto* const made = new CachingAllocator(
      {.allocate = [](std::size_t bytes) -> void* {
         void* block = nullptr;
         const cudaError_t result = cudaHostAlloc(&block, bytes, cudaHostAllocPortable);
         if (result == cudaErrorMemoryAllocation) {
           cudaGetLastError();  // it is told by the null pointer
           return nullptr;
         }
         check_cuda(result, "pin_memory");
         return block;
       },
       .release = [](void* block, std::size_t) { let_pass(cudaFreeHost(block)); }});
  return *made;
}

/// Storages that copies still read.
class PinnedInFlight {
 public:
  void add(StoragePtr storage, std::unique_ptr<Event> done) {
    const std::lock_guard lock(mutex_);
    // Up to the first one that is not done: few questions, and order is that of time.
    const auto pending = std::find_if(copies_.begin(), copies_.end(),
                                      [](const Copy& copy) { return !copy.done->query(); });
    copies_.erase(copies_.begin(), pending);
    copies_.push_back({std::move(storage), std::move(done)});
  }

 private:
  struct Copy {
    StoragePtr storage;
    std::unique_ptr<Event> done;
  };
  std::mutex mutex_;
  std::vector<Copy> copies_;
};

}  // namespace

void copy_from_pinned(void* to, Device gpu, const StoragePtr& pinned, std::size_t offset,
                      std::size_t bytes) {
  static auto* const in_flight = new PinnedInFlight;
  if (bytes == 0) return;
  check_not_recording("a copy from the CPU");
  check_cuda(cudaMemcpyAsync(to, static_cast<const char*>(pinned->data()) + offset, bytes,
                             cudaMemcpyHostToDevice, current_stream(gpu.index)),
             "to");
  auto done = std::make_unique<Event>(gpu);
  done->record();
  in_flight->add(pinned, std::move(done));
}

void copy_to_pinned(const StoragePtr& pinned, const void* from, Device gpu, std::size_t bytes) {
  if (bytes == 0) return;
  check_not_recording("a copy to the CPU");
  check_cuda(cudaMemcpyAsync(pinned->data(), from, bytes, cudaMemcpyDeviceToHost,
                             current_stream(gpu.index)),
             "to");
}

StoragePtr pinned_storage(std::size_t bytes) {
  check_index(0);
  void* const data = pinned_allocator().allocate(bytes);
  return make_intrusive<Storage>(data, bytes, kCpu,
                                 [=] { pinned_allocator().release(data, bytes); });
}

bool is_pinned(const Storage& storage) {
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, storage.data()) != cudaSuccess) {
    cudaGetLastError();  // no GPU: nothing is pinned
    return false;
  }
  return attributes.type == cudaMemoryTypeHost;
}

// --- streams and events

namespace {

/// The streams that no Stream has at present.
struct IdleStreams {
  std::mutex mutex;
  std::array<std::vector<cudaStream_t>, kMostDevices> of_gpu;
};

IdleStreams& idle_streams() {
  static auto* const made = new IdleStreams;
  return *made;
}

}  // namespace

// Makes the GPU the thread's current one as well: the default stream is that of the current GPU.
cudaStream_t current_stream(int index) {
  check_index(index);
  use_device(index, "stream");
  return current_streams[index];
}

void synchronize(Device gpu) {
  check_not_recording("an operation that waits for the GPU");
  check_cuda(cudaStreamSynchronize(current_stream(gpu.index)), "synchronize");
}

Stream::Stream(Device gpu) : gpu_(gpu), stream_(nullptr) {
  check_index(gpu.index);
  IdleStreams& idle = idle_streams();
  const std::lock_guard lock(idle.mutex);
  if (auto& ready = idle.of_gpu[gpu.index]; !ready.empty()) {
    stream_ = ready.back();
    ready.pop_back();
    return;
  }
  use_device(gpu.index, "stream");
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
}

Stream::~Stream() {
  IdleStreams& idle = idle_streams();
  const std::lock_guard lock(idle.mutex);
  idle.of_gpu[gpu_.index].push_back(stream_);
}

namespace {

/// Makes `next` the current stream; its work begins after that of the one before.
void switch_to(Device gpu, cudaStream_t next) {
  Event done(gpu);
  done.record();
  const cudaStream_t before = std::exchange(current_streams[gpu.index], next);
  try {
    done.wait();
  } catch (...) {
    current_streams[gpu.index] = before;
    throw;
  }
}

}  // namespace

StreamScope::StreamScope(const Stream& stream)
    : gpu_(stream.device()), previous_(current_stream(gpu_.index)) {
  switch_to(gpu_, stream.get());
}

StreamScope::~StreamScope() {
  try {
    switch_to(gpu_, previous_);
  } catch (const std::exception&) {
    current_streams[gpu_.index] = previous_;  // a GPU that has failed: whoever uses it next is told
  }
}

Event::Event(Device gpu, bool timed) : gpu_(gpu), event_(nullptr) {
  check_index(gpu.index);
  use_device(gpu.index, "event");
  check_cuda(cudaEventCreateWithFlags(&event_, timed ? cudaEventDefault : cudaEventDisableTiming),
             "event");
}

Event::~Event() { let_pass(cudaEventDestroy(event_)); }

void Event::record() { check_cuda(cudaEventRecord(event_, current_stream(gpu_.index)), "event"); }

void Event::wait() const {
  check_cuda(cudaStreamWaitEvent(current_stream(gpu_.index), event_, 0), "event");
}

bool Event::query() const {
  const cudaError_t result = cudaEventQuery(event_);
  if (result == cudaErrorNotReady) {
    cudaGetLastError();  // no failure
    return false;
  }
  check_cuda(result, "event");
  return true;
}

void Event::synchronize() const { check_cuda(cudaEventSynchronize(event_), "event"); }

double Event::milliseconds_until(const Event& later) const {
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, event_, later.event_), "event");
  return static_cast<double>(milliseconds);
}

// --- recording

// Relaxed: the allocator may ask for memory meanwhile.
void begin_recording(int index) {
  // What was used before is free for the graph, which could not have it freed while it is recorded.
  caches().empty_others(index, allocator(index));
  check_cuda(cudaStreamBeginCapture(current_stream(index), cudaStreamCaptureModeRelaxed), "graph");
  recording = true;
  ++recordings;
}

Recording* end_recording(int index) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(current_stream(index), &graph);
  recording = false;
  --recordings;
  check_cuda(ended, "graph");
  const cudaError_t result = cudaGraphInstantiate(&executable, graph, 0);
  let_pass(cudaGraphDestroy(graph));
  check_cuda(result, "graph");
  return reinterpret_cast<Recording*>(executable);
}

void abandon_recording(int index) noexcept {
  cudaGraph_t graph = nullptr;
  let_pass(cudaStreamEndCapture(current_streams[index], &graph));  // the reason is being told
  if (graph) let_pass(cudaGraphDestroy(graph));
  if (std::exchange(recording, false)) --recordings;
}

void start(Recording* recorded, int index) {
  check_cuda(cudaGraphLaunch(reinterpret_cast<cudaGraphExec_t>(recorded), current_stream(index)),
             "graph");
}

void destroy(Recording* recorded) noexcept {
  let_pass(cudaGraphExecDestroy(reinterpret_cast<cudaGraphExec_t>(recorded)));
}

CachingAllocator* make_allocator(int index) {
  check_index(index);
  return caches().add_for_graphs(index);
}

CachingAllocator* exchange_allocator(int index, CachingAllocator* own) {
  return std::exchange(own_allocators[index], own);
}

}  // namespace invar::cuda
