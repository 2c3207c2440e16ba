#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <invar/core/progress.hpp>
#include <iostream>
#include <utility>

namespace invar {
namespace {

constexpr int kLargestWidth = 80;
constexpr int kShortBar = 10;
constexpr int kLongBar = 20;
constexpr int kBrackets = 3;  // " [" and "]"
constexpr double kTerminalInterval = 0.1;
constexpr double kShortestPlainInterval = 5;
constexpr double kLongestPlainInterval = 600;

/// Columns of UTF-8 text, one per code point.
int columns(std::string_view text) {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

/// The first `limit` code points.
std::string_view cut(std::string_view text, int limit) {
  std::size_t end = 0;
  while (end < text.size() && (limit > 0 || (text[end] & 0xC0) == 0x80)) {
    limit -= (text[end] & 0xC0) != 0x80;
    ++end;
  }
  return text.substr(0, end);
}

/// "0:07", "12:03", "25:00:00".
std::string duration(double seconds) {
  const std::int64_t s = std::llround(std::clamp(seconds, 0.0, 1e9));
  if (s < 3600) return fmt::format("{}:{:02}", s / 60, s % 60);
  return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

/// Three digits or more, never an exponent for what can be counted.
std::string per_second(double rate, std::string_view unit) {
  const int digits = rate >= 100 ? 0 : rate >= 10 ? 1 : 2;
  return fmt::format("{:.{}f} {}/s", rate, digits, unit);
}

std::string text_of(const Progress::Term& term) {
  return fmt::format("{} {:#.4g}", term.name, term.value);
}

}  // namespace

Progress::Output Progress::standard_error() {
  const char* term = std::getenv("TERM");
  const bool terminal = ::isatty(STDERR_FILENO) == 1 && term && std::string_view(term) != "dumb";
  return {.stream = &std::cerr,
          .terminal = terminal,
          .width =
              [] {
                winsize size{};
                const bool known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0;
                return known && size.ws_col > 0 ? size.ws_col : kLargestWidth;
              },
          .seconds =
              [] {
                const auto now = std::chrono::steady_clock::now().time_since_epoch();
                return std::chrono::duration<double>(now).count();
              }};
}

Progress::Progress(std::string label, std::string unit, std::int64_t total, std::int64_t first,
                   Output output)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      total_(total),
      first_(first),
      done_(first),
      output_(std::move(output)),
      start_(output_.seconds()),
      next_(start_) {}

Progress::~Progress() {
  if (on_line_) *output_.stream << std::endl;
}

void Progress::update(std::int64_t done, std::span<const Term> terms) {
  done_ = done;
  const double now = output_.seconds();
  if (now < next_) return;
  if (output_.terminal) {
    *output_.stream << '\r' << terminal_line(terms) << "\x1b[K" << std::flush;
    on_line_ = true;
    next_ = now + kTerminalInterval;
  } else {
    *output_.stream << plain_line(terms, false) << std::endl;
    next_ = now + std::clamp(elapsed() / 20, kShortestPlainInterval, kLongestPlainInterval);
  }
}

void Progress::note(std::string_view text) {
  if (on_line_) *output_.stream << "\r\x1b[K";
  *output_.stream << text << std::endl;
  on_line_ = false;
  if (output_.terminal) next_ = start_;  // show the line again at once
}

void Progress::finish(std::span<const Term> terms) {
  if (on_line_) *output_.stream << "\r\x1b[K";
  *output_.stream << plain_line(terms, true) << std::endl;
  on_line_ = false;
}

double Progress::fraction() const {
  if (total_ <= 0) return 1;
  return std::clamp(static_cast<double>(done_) / static_cast<double>(total_), 0.0, 1.0);
}

double Progress::rate() const {
  const double time = elapsed();
  return time > 0 ? std::max(0.0, static_cast<double>(done_ - first_) / time) : 0;
}

std::string Progress::time_left() const {
  if (rate() == 0) return "?:??";
  return duration(static_cast<double>(std::max<std::int64_t>(total_ - done_, 0)) / rate());
}

std::string Progress::terminal_line(std::span<const Term> terms) const {
  // The last column stays empty: many terminals wrap when it is written.
  const int width = std::min(output_.width(), kLargestWidth) - 1;
  const std::string percent = fmt::format(" {:3.0f}%", std::floor(100 * fraction()));
  const std::string pace = fmt::format(" {}  {} left", per_second(rate(), unit_), time_left());
  const int shortest = columns(label_) + columns(percent) + columns(pace);
  if (shortest > width) return std::string(cut(label_ + percent + pace, width));

  int room = width - shortest;
  const bool with_bar = room >= kShortBar + kBrackets;
  if (with_bar) room -= kShortBar + kBrackets;
  std::string terms_text;
  for (const Term& term : terms) {
    const std::string text = "  " + text_of(term);
    if (columns(text) > room) break;
    room -= columns(text);
    terms_text += text;
  }
  std::string bar;
  if (with_bar) {
    // Two lengths only: a bar that takes what is left would twitch with every digit.
    const int length = room >= kLongBar - kShortBar ? kLongBar : kShortBar;
    const int filled = static_cast<int>(fraction() * length);
    bar = fmt::format(" [{:=<{}}{:{}}]", "", filled, filled < length ? ">" : "", length - filled);
  }
  return label_ + percent + bar + pace + terms_text;
}

std::string Progress::plain_line(std::span<const Term> terms, bool finished) const {
  std::string line = fmt::format("{}: {}/{} {} ({:.0f}%), {}, {}", label_, done_, total_, unit_,
                                 std::floor(100 * fraction()), per_second(rate(), unit_),
                                 finished ? "took " + duration(elapsed()) : time_left() + " left");
  for (const Term& term : terms) line += ", " + text_of(term);
  return line;
}

}  // namespace invar
