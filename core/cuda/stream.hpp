#pragma once
// Streams: the order of work on a GPU.
//
// Every kernel and every copy goes to the current stream of its GPU, which each thread has of its
// own: the GPU's default stream, unless a StreamScope says otherwise. All of this is for programs
// that overlap things; others need none of it.
//
//   const Stream side(gpu);
//   {
//     const StreamScope scope(side);  // waits (on the GPU) for what the thread has started
//     y = f(x);                       // on `side`
//   }                                 // what the thread starts from here on waits for `side`
//
// A thread's work is thus done in the order of its program, whichever streams it goes to. Between
// threads an Event makes the order: recorded by one, waited for by the other.
//
// Note [Memory and streams]: each stream has a cache of memory of its own. A tensor's memory comes
// from the cache of the stream that was current when it was made and goes back there at once when
// the last handle is gone: work that is still running on that stream has been started before
// whatever reuses the memory, so the stream's order protects it. Only work of *another* thread on
// another stream needs an Event back before the last handle may go.
#include <invar/core/device.hpp>

// The runtime's cudaStream_t and cudaEvent_t are pointers to these.
struct CUstream_st;
struct CUevent_st;

namespace invar::cuda {

/// What the calling thread's work on this GPU goes to; null is the default stream. Makes the GPU
/// the runtime's current one.
CUstream_st* current_stream(int index);

/// Waits until the current stream has done all that it was given.
void synchronize(Device gpu);

/// A stream of its own, taken from a few that are made once and used again.
class Stream {
 public:
  explicit Stream(Device gpu);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device device() const { return gpu_; }
  CUstream_st* get() const { return stream_; }

 private:
  Device gpu_;
  CUstream_st* stream_;
};

/// Makes a stream the current one of its GPU for this thread, until the end of the scope.
class StreamScope {
 public:
  explicit StreamScope(const Stream& stream);
  ~StreamScope();
  StreamScope(const StreamScope&) = delete;
  StreamScope& operator=(const StreamScope&) = delete;

 private:
  Device gpu_;
  CUstream_st* previous_;
};

/// A point in a stream's work.
class Event {
 public:
  /// `timed`: for milliseconds_until; without, it costs less.
  explicit Event(Device gpu, bool timed = false);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  /// The point after all that the current stream has been given.
  void record();
  /// The current stream goes on only when the point is reached; the calling thread does not wait.
  void wait() const;
  /// True iff the point is reached.
  bool query() const;
  /// The calling thread waits.
  void synchronize() const;
  /// From this point to a later one, both timed and reached.
  double milliseconds_until(const Event& later) const;

 private:
  Device gpu_;
  CUevent_st* event_;
};

}  // namespace invar::cuda
