// Progress: with a clock and a terminal of our own, what is written and when.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <invar/core/progress.hpp>
#include <sstream>
#include <string>
#include <vector>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Screen {
  std::ostringstream stream;
  double seconds = 100;
  int width = 80;

  Progress::Output output(bool terminal) {
    return {&stream, terminal, [this] { return width; }, [this] { return seconds; }};
  }
  /// What was written since the last call.
  std::string take() {
    std::string text = stream.str();
    stream.str("");
    return text;
  }
};

/// The visible part of a rewritten line; fails if it is not exactly one.
std::string line_of(const std::string& written) {
  REQUIRE(written.starts_with("\r"));
  REQUIRE(written.ends_with("\x1b[K"));
  const std::string line = written.substr(1, written.size() - 4);
  CHECK(line.find_first_of("\r\n\x1b") == std::string::npos);
  return line;
}

int columns(const std::string& text) {
  int n = 0;
  for (char c : text) n += (c & 0xC0) != 0x80;
  return n;
}

}  // namespace

TEST_CASE("A terminal shows one line with bar, rate, time left and terms") {
  Screen screen;
  Progress progress("pretrain", "images", 50000, 0, screen.output(true));
  screen.seconds += 10;
  progress.update(18500, {{"loss", 21.4321}, {"inv", 0.43119}});
  CHECK(line_of(screen.take()) ==
        "pretrain  37% [===>      ] 1850 images/s  0:17 left  loss 21.43  inv 0.4312");
  progress.update(50000);
  CHECK(screen.take() == "");
  screen.seconds += 10;
  progress.update(50000);
  CHECK(line_of(screen.take()) == "pretrain 100% [====================] 2500 images/s  0:00 left");
  progress.finish({{"loss", 20}});
  CHECK(screen.take() ==
        "\r\x1b[Kpretrain: 50000/50000 images (100%), 2500 images/s, took 0:20, loss 20.00\n");
}

TEST_CASE("A line is never wider than the terminal or 80 columns") {
  Screen screen;
  const std::vector<Progress::Term> terms = {
      {"loss", -1.2345e-30}, {"größe", 1e30}, {"a rather long name of a term", 1}, {"x", NAN}};
  Progress progress("größer", "images", 1000, 0, screen.output(true));
  for (int width = 0; width <= 200; ++width) {
    CAPTURE(width);
    screen.width = width;
    screen.seconds += 1;
    progress.update(5 * width, terms);
    const std::string line = line_of(screen.take());
    CHECK(columns(line) <= std::max(0, std::min(width, 80) - 1));
    if (width >= 60) CHECK_THAT(line, ContainsSubstring("["));
  }
  screen.width = 40;  // too narrow for terms, the time left stays
  screen.seconds += 1;
  progress.update(900, terms);
  CHECK_THAT(line_of(screen.take()), ContainsSubstring("left"));
}

TEST_CASE("A terminal line is rewritten at most ten times a second") {
  Screen screen;
  Progress progress("x", "steps", 10000, 0, screen.output(true));
  int written = 0;
  for (int i = 0; i < 10000; ++i) {  // 10 seconds
    screen.seconds += 0.001;
    progress.update(i);
    written += screen.take() != "";
  }
  CHECK(written <= 101);
  CHECK(written >= 90);
}

TEST_CASE("A pipe gets whole lines, ever rarer") {
  Screen screen;
  Progress progress("evaluate", "images", 100000, 0, screen.output(false));
  screen.seconds += 2;
  progress.update(250, {{"loss", 0.5}});
  CHECK(screen.take() ==
        "evaluate: 250/100000 images (0%), 125 images/s, 13:18 left, loss 0.5000\n");
  int lines = 0;
  for (int i = 0; i < 20000; ++i) {
    screen.seconds += 1;
    progress.update(i);
    const std::string text = screen.take();
    lines += text != "";
    CHECK(text.find_first_of("\r\x1b") == std::string::npos);
  }
  CHECK(lines > 50);
  CHECK(lines < 150);
  progress.note("saved last.safetensors");
  CHECK(screen.take() == "saved last.safetensors\n");
  progress.finish();
  CHECK_THAT(screen.take(), ContainsSubstring("took 5:33:22\n"));
}

TEST_CASE("A note stands above the line, which comes back at once") {
  Screen screen;
  Progress progress("x", "steps", 10, 0, screen.output(true));
  progress.update(1);
  screen.take();
  progress.note("saved");
  CHECK(screen.take() == "\r\x1b[Ksaved\n");
  progress.update(2);
  CHECK_THAT(line_of(screen.take()), ContainsSubstring("20%"));
}

TEST_CASE("Work that is cut short leaves its line and begins a new one") {
  Screen screen;
  {
    Progress progress("x", "steps", 10, 0, screen.output(true));
    progress.update(1);
    screen.take();
  }
  CHECK(screen.take() == "\n");
  { const Progress unused("x", "steps", 10, 0, screen.output(true)); }
  CHECK(screen.take() == "");
}

TEST_CASE("What a resumed run found done does not count for the rate") {
  Screen screen;
  Progress progress("x", "steps", 1000, 900, screen.output(false));
  progress.update(900);
  CHECK(screen.take() == "x: 900/1000 steps (90%), 0.00 steps/s, ?:?? left\n");
  screen.seconds += 5;
  progress.update(950);
  CHECK(screen.take() == "x: 950/1000 steps (95%), 10.0 steps/s, 0:05 left\n");
}

TEST_CASE("Strange totals do no harm") {
  Screen screen;
  Progress nothing("x", "steps", 0, 0, screen.output(true));
  nothing.update(0);
  CHECK_THAT(line_of(screen.take()), ContainsSubstring("100%"));
  Progress more("x", "steps", 10, 0, screen.output(true));
  screen.seconds += 1;
  more.update(20);
  CHECK_THAT(line_of(screen.take()), ContainsSubstring("100%") && ContainsSubstring("0:00 left"));
}
