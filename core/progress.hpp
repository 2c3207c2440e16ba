#pragma once
// Progress of long work, for a person who watches and for a log file.
//
// On a terminal: one line of at most 80 columns, never wrapped, rewritten at most ten times a
// second. When it is too narrow, the last terms go first, then the bar.
//
//   pretrain  37% [=======>            ] 1520 images/s  0:21 left  loss 21.43
//
// Anywhere else (pipe, file, TERM=dumb): whole lines, 5 seconds apart at first, then ever rarer
// (a twentieth of the elapsed time, at most 10 minutes).
//
//   pretrain: 18500/50000 images (37%), 1520 images/s, 0:21 left, loss 21.43
//
// Nothing is counted here: the caller says how much is done. One thread at a time.
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

namespace invar {

class Progress {
 public:
  /// A number to show: {"loss", 21.43}.
  struct Term {
    std::string_view name;
    double value;
  };

  /// Where to and by which clock.
  struct Output {
    std::ostream* stream;
    bool terminal;
    std::function<int()> width;       ///< columns of the terminal, asked for every line
    std::function<double()> seconds;  ///< a clock that never goes back
  };
  static Output standard_error();

  /// `total` units of work, of which `first` were done before (by the run that is resumed); they
  /// do not count for the rate.
  Progress(std::string label, std::string unit, std::int64_t total, std::int64_t first = 0,
           Output output = standard_error());
  /// Leaves the line as it is and begins a new one, so that an error message stands by itself.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` of `total` units are done. Cheap when it is not time to show it.
  void update(std::int64_t done, std::span<const Term> terms = {});
  void update(std::int64_t done, std::initializer_list<Term> terms) {
    update(done, std::span(terms.begin(), terms.size()));
  }
  /// A line of text of its own ("saved ..."), above the progress line.
  void note(std::string_view text);
  /// The last line, with the time that everything took in place of the time left.
  void finish(std::span<const Term> terms = {});
  void finish(std::initializer_list<Term> terms) { finish(std::span(terms.begin(), terms.size())); }

 private:
  std::string terminal_line(std::span<const Term> terms) const;
  std::string plain_line(std::span<const Term> terms, bool finished) const;
  double elapsed() const { return output_.seconds() - start_; }
  double fraction() const;
  double rate() const;  // units per second, 0 before it is known
  std::string time_left() const;

  std::string label_;
  std::string unit_;
  std::int64_t total_;
  std::int64_t first_;
  std::int64_t done_;
  Output output_;
  double start_;
  double next_;           // when the next line is due
  bool on_line_ = false;  // true iff the cursor stands behind a line of ours
};

}  // namespace invar
