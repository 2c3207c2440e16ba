// Tensors: views, promotion, conversion, factories, printing, memory.
#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <cstdlib>
#include <invar/core/allocator.hpp>
#include <invar/core/autograd/engine.hpp>
#include <invar/core/autograd/grad_mode.hpp>
#include <invar/core/tensor.hpp>
#include <invar/ops/convert.hpp>
#include <invar/ops/elementwise.hpp>
#include <invar/ops/factory.hpp>
#include <invar/ops/index.hpp>
#include <invar/ops/reduce.hpp>
#include <invar/ops/view.hpp>
#include <limits>

using namespace invar;
using Catch::Matchers::ContainsSubstring;

namespace {

constexpr DType kAllTypes[] = {DType::f64, DType::f32, DType::bf16,   DType::i64,
                               DType::i32, DType::u8,  DType::boolean};

std::vector<double> values(const Tensor& x) {
  const Tensor dense = contiguous(to(x, DType::f64));
  return {dense.data<double>(), dense.data<double>() + dense.numel()};
}

Tensor iota(const Dims& shape) {
  return reshape(arange(0, static_cast<double>(numel_of(shape))), shape);
}

bool shares(const Tensor& a, const Tensor& b) { return a.storage() == b.storage(); }

}  // namespace

TEST_CASE("views share memory, copies do not", "[unit]") {
  const Tensor x = iota({2, 3, 4});
  const Tensor turned = permute(x, {2, 0, 1});
  CHECK(turned.shape() == Dims{4, 2, 3});
  CHECK(turned.strides() == Dims{1, 12, 4});
  CHECK_FALSE(turned.is_contiguous());
  CHECK(shares(x, turned));
  CHECK(shares(x, reshape(x, {6, 4})));
  CHECK(shares(x, reshape(slice(x, 0, 1, 2), {3, 4})));
  // Dimensions 0 and 1 of x[:, :, 1:3] still merge; 1 and 2 do not.
  const Tensor part = slice(x, 2, 1, 3);
  CHECK(view(part, {6, 2}).strides() == Dims{4, 1});
  CHECK_THROWS_WITH(view(part, {2, 6}), ContainsSubstring("[view] expected a shape that the "
                                                          "strides [12, 4, 1] of [2, 3, 2] allow"));
  const Tensor copied = reshape(part, {2, 6});
  CHECK_FALSE(shares(x, copied));
  CHECK(values(copied) == std::vector<double>{1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21, 22});
  // A transposed matrix has no view as a line.
  CHECK(values(reshape(transpose(iota({2, 3})), {6})) == std::vector<double>{0, 3, 1, 4, 2, 5});
  CHECK_FALSE(shares(x, clone(x)));
  CHECK(contiguous(x).is_same(x));
  CHECK(contiguous(turned).is_contiguous());

  // What picks, places and rounds copies, also where nothing was to do.
  CHECK_FALSE(shares(x, repeat(x, {1, 1, 1})));
  CHECK_FALSE(shares(x, repeat(x, {2, 1, 1, 1})));
  CHECK_FALSE(shares(x, pad(x, {0, 0}, PadMode::replicate)));
  CHECK_FALSE(shares(x, cat({x})));
  const Tensor whole = to(x, DType::i64);
  CHECK_FALSE(shares(whole, floor(whole)));

  const Tensor row = select(x, 1, -1);
  fill_(row, -1);
  CHECK(values(x)[8] == -1);
  CHECK(values(x)[23] == -1);
  CHECK(values(x)[7] == 7);
}

TEST_CASE("an alias stays inside of its storage", "[unit]") {
  const Tensor x = arange(0, 6);
  CHECK(values(alias(x, {2, 2}, {-2, 1}, 4)) == std::vector<double>{4, 5, 2, 3});
  CHECK(values(alias(x, {3}, {0}, 5)) == std::vector<double>{5, 5, 5});
  CHECK(alias(x, {0, 9}, {100, 100}, 6).numel() == 0);
  const std::int64_t far = std::numeric_limits<std::int64_t>::max();
  struct Case {
    Dims shape, strides;
    std::int64_t offset;
  };
  for (const auto& [shape, strides, offset] :
       {Case{{3}, {3}, 0}, Case{{1}, {1}, 6}, Case{{1}, {1}, -1}, Case{{2}, {-1}, 0},
        Case{{3}, {far}, 0}, Case{{2, 2}, {far, 1}, far}, Case{{2}, {1, 1}, 0}}) {
    CHECK_THROWS_WITH(alias(x, shape, strides, offset), ContainsSubstring("[alias] expected"));
  }
}

TEST_CASE("reshape infers one size", "[unit]") {
  const Tensor x = iota({2, 6});
  CHECK(reshape(x, {-1}).shape() == Dims{12});
  CHECK(reshape(x, {3, -1, 2}).shape() == Dims{3, 2, 2});
  CHECK(reshape(zeros({0, 3}), {-1, 3}).shape() == Dims{0, 3});
  CHECK_THROWS_WITH(reshape(x, {5, -1}), ContainsSubstring("[reshape] expected a shape for 12"));
  CHECK_THROWS_WITH(reshape(x, {-1, -1}), ContainsSubstring("at most one size of -1"));
  CHECK_THROWS_WITH(reshape(x, {-2, 6}), ContainsSubstring("sizes of at least 0"));
  CHECK_THROWS_WITH(reshape(x, {7}), ContainsSubstring("expected a shape for 12 elements"));
  CHECK_THROWS_WITH(reshape(zeros({0}), {-1, 0}),
                    ContainsSubstring("expected a size instead of -1 where another is 0"));
  const std::int64_t huge = std::int64_t{1} << 40;
  CHECK_THROWS_AS(reshape(x, {huge, huge, -1}), Error);
  CHECK_THROWS_AS(reshape(x, {1, 1, 1, 1, 1, 1, 1, 1, 12}), Error);
}

TEST_CASE("slices clamp, step and count from the end", "[unit]") {
  const Tensor x = arange(0, 10);
  CHECK(values(slice(x, 0, 2, 5)) == std::vector<double>{2, 3, 4});
  CHECK(values(slice(x, 0, -3, 100)) == std::vector<double>{7, 8, 9});
  CHECK(values(slice(x, 0, 1, -1, 3)) == std::vector<double>{1, 4, 7});
  CHECK(slice(x, 0, 5, 2).numel() == 0);
  CHECK(slice(x, 0, 50, 60).numel() == 0);
  const std::int64_t far = std::numeric_limits<std::int64_t>::max();
  CHECK(values(slice(x, 0, 3, far, far)) == std::vector<double>{3});
  CHECK(values(slice(x, 0, -far, far, 9)) == std::vector<double>{0, 9});
  CHECK_THROWS_WITH(slice(x, 0, 0, 5, 0), ContainsSubstring("a step of at least 1, got 0"));
  CHECK_THROWS_WITH(slice(x, 1, 0, 5),
                    ContainsSubstring("[slice] expected a dimension in [-1, 0]"));
  CHECK(values(narrow(x, 0, -3, 2)) == std::vector<double>{7, 8});
  CHECK_THROWS_WITH(narrow(x, 0, -3, 4), ContainsSubstring("[narrow] expected a range inside"));
  CHECK_THROWS_WITH(narrow(x, 0, -11, 1), ContainsSubstring("[narrow] expected a range inside"));
  CHECK_THROWS_WITH(narrow(x, 0, 8, 3), ContainsSubstring("[narrow] expected a range inside"));
  CHECK_THROWS_WITH(narrow(x, 0, 1, far), ContainsSubstring("[narrow] expected a range inside"));
  CHECK_THROWS_WITH(select(x, 0, 10), ContainsSubstring("[select] expected an index in [-10, 10)"));
  CHECK(select(x, 0, -10).item() == 0);
  const Tensors pieces = split(x, 4);
  CHECK(pieces.size() == 3);
  CHECK(pieces[2].numel() == 2);
  CHECK(shares(x, pieces[1]));
  CHECK(split(ones({0, 2}), 3)[0].shape() == Dims{0, 2});
  const Tensor leaf = ones({10}).requires_grad_();
  sum(split(leaf, 4)[2] * 3).backward();  // the other pieces have no gradient
  CHECK(values(leaf.grad()) == std::vector<double>{0, 0, 0, 0, 0, 0, 0, 0, 3, 3});
  for (const auto& f : {+[](const Tensor& s) { return slice(s, 0, 0, 1); },
                        +[](const Tensor& s) { return split(s, 1)[0]; },
                        +[](const Tensor& s) { return select(s, 0, 0); }}) {
    CHECK_THROWS_AS(f(ones({})), Error);
  }
  CHECK_THROWS_WITH(ones({}).size(0), ContainsSubstring("got a scalar"));
  CHECK_THROWS_WITH(x.size(1), ContainsSubstring("[size] expected a dimension in [-1, 0], got 1"));
}

TEST_CASE("a dimension beyond 32 bits is not taken for another", "[unit]") {
  CHECK_THROWS_WITH(permute(ones({2, 3}), {1, std::int64_t{1} << 32}),
                    ContainsSubstring("[permute] expected a dimension in [-2, 1], got 4294967296"));
}

TEST_CASE("expand repeats without memory", "[unit]") {
  const Tensor x = expand(iota({3, 1}), {2, -1, 4});
  CHECK(x.shape() == Dims{2, 3, 4});
  CHECK(x.strides() == Dims{0, 1, 0});
  CHECK(sum(x).item() == 24);
  CHECK_THROWS_WITH(expand(x, {2, 3, 5}), ContainsSubstring("[expand] expected a shape that [2, 3, "
                                                            "4] broadcasts to, got [2, 3, 5]"));
  CHECK_THROWS_WITH(expand(x, {3, 4}), ContainsSubstring("at least 3 dimensions"));
  NoGrad guard;
  CHECK_THROWS_WITH(add_(x, 1), ContainsSubstring("[add_] expected a target whose elements lie "
                                                  "apart"));
}

TEST_CASE("in place between views of the same bytes", "[unit]") {
  const Tensor x = arange(0, 6);
  add_(slice(x, 0, 1, 6), slice(x, 0, 0, 5));  // as if the operand had been copied first
  CHECK(values(x) == std::vector<double>{0, 1, 3, 5, 7, 9});
  copy_(slice(x, 0, 0, 5), slice(x, 0, 1, 6));
  CHECK(values(x) == std::vector<double>{1, 3, 5, 7, 9, 9});
  const Tensor square = iota({2, 2});
  copy_(square, transpose(square));
  CHECK(values(square) == std::vector<double>{0, 2, 1, 3});
  CHECK_THROWS_WITH(add_(x, ones({2, 6})), ContainsSubstring("[add_] expected an operand that "
                                                             "broadcasts to [6], got [2, 6]"));
  mul_(x, tensor({2}, {.dtype = DType::i64}));
  CHECK(values(x)[0] == 2);
  const Tensor whole = tensor({2}, {.dtype = DType::i64});
  CHECK_THROWS_WITH(div_(whole, x), ContainsSubstring("[div_]"));
  CHECK_THROWS_WITH(add_(whole, tensor({0.5})), ContainsSubstring("[add_] expected integers"));
  CHECK_THROWS_WITH(mul_(whole, 0.5), ContainsSubstring("[mul_] expected a whole number"));
  CHECK_THROWS_WITH(sub_(whole, 0.5), ContainsSubstring("[sub_] expected a whole number"));
  CHECK_THROWS_WITH(div_(whole, 2), ContainsSubstring("[div_] expected a floating dtype"));
  CHECK(add_(whole, 3).item() == 5);
}

TEST_CASE("in place gives what out of place gives", "[unit]") {
  using InPlace = Tensor (*)(const Tensor&, const Tensor&);
  const struct {
    InPlace in_place, out_of_place;
  } cases[] = {{add_, add}, {sub_, sub}, {mul_, mul}, {div_, div}};
  for (const DType dtype : {DType::f32, DType::f64}) {
    // Operands: of the same shape, broadcast, one number, another layout, another dtype.
    const Tensor x = to(iota({2, 3}) + 1, dtype);
    const Tensor operands[] = {to(iota({2, 3}) + 2, dtype), to(tensor({2, 4, 8}), dtype),
                               to(tensor({4}), dtype), transpose(to(iota({3, 2}) + 2, dtype)),
                               to(tensor({2, 4, 8}), DType::i32)};
    for (const auto& [in_place, out_of_place] : cases) {
      for (const Tensor& y : operands) {
        const Tensor changed = clone(x);
        CHECK(in_place(changed, y).is_same(changed));
        CHECK(values(changed) == values(out_of_place(x, y)));
        const Tensor columns = transpose(clone(transpose(x)));  // elements lie apart
        CHECK(values(in_place(columns, y)) == values(out_of_place(x, y)));
      }
    }
    CHECK(values(clamp_(clone(x), 2, 4.5)) == values(clamp(x, 2, 4.5)));
    CHECK(values(add_(clone(x), 0.5)) == values(x + 0.5));
    CHECK(values(sub_(clone(x), 0.5)) == values(x - 0.5));
    CHECK(values(mul_(clone(x), 0.5)) == values(x * 0.5));
    CHECK(values(div_(clone(x), 3)) == values(x / 3));
    CHECK(values(fill_(clone(x), 7)) == std::vector<double>(6, 7));
    CHECK(values(zero_(clone(x))) == std::vector<double>(6, 0));
    const Tensor nothing = zeros({0, 3}, {.dtype = dtype});
    CHECK(add_(nothing, operands[1]).shape() == Dims{0, 3});
    CHECK(clamp_(nothing, 0, 1).shape() == Dims{0, 3});
  }
}

TEST_CASE("logic of booleans broadcasts", "[unit]") {
  const auto boolean = [](std::initializer_list<double> v) {
    return to(tensor(v), DType::boolean);
  };
  const Tensor a = unsqueeze(boolean({0, 1}), 1), b = boolean({0, 1});
  CHECK(values(logical_and(a, b)) == std::vector<double>{0, 0, 0, 1});
  CHECK(values(logical_or(a, b)) == std::vector<double>{0, 1, 1, 1});
  CHECK(values(logical_not(b)) == std::vector<double>{1, 0});
  CHECK(logical_and(a, b).dtype() == DType::boolean);
  CHECK(logical_or(a, zeros({2, 0}, {.dtype = DType::boolean})).shape() == Dims{2, 0});
}

TEST_CASE("promotion: floating beats integer beats boolean, then the wider wins", "[unit]") {
  for (std::size_t i = 0; i < std::size(kAllTypes); ++i) {
    for (std::size_t j = 0; j < std::size(kAllTypes); ++j) {
      CHECK(promote(kAllTypes[i], kAllTypes[j]) == kAllTypes[std::min(i, j)]);
    }
  }
  const auto of = [](DType d) { return ones({2}, {.dtype = d}); };
  CHECK((of(DType::u8) + of(DType::i64)).dtype() == DType::i64);
  CHECK((of(DType::i64) * of(DType::f32)).dtype() == DType::f32);
  CHECK((of(DType::i64) / of(DType::i64)).dtype() == DType::f32);
  CHECK((of(DType::f32) + 0.1).dtype() == DType::f32);
  CHECK((of(DType::i32) + 1).dtype() == DType::i32);
  CHECK((of(DType::i32) + 0.5).dtype() == DType::f32);
  CHECK(exp(of(DType::u8)).dtype() == DType::f32);
  CHECK((of(DType::boolean) + 1).dtype() == DType::f32);
}

TEST_CASE("integers that leave their range wrap around", "[unit]") {
  const auto check = [&]<class T>(T) {
    CAPTURE(sizeof(T));
    const T low = std::numeric_limits<T>::lowest(), high = std::numeric_limits<T>::max();
    const auto of = [&](std::vector<T> values) {
      return clone(from_blob(values.data(), {static_cast<std::int64_t>(values.size())},
                             {.dtype = dtype_of<T>}));
    };
    const auto same = [&](const Tensor& got, std::vector<T> expected) {
      return all(eq(got, of(std::move(expected)))).template item<bool>();
    };
    const Tensor x = of({high, low}), one = of({1, 1});
    CHECK(same(x + one, {low, static_cast<T>(low + 1)}));
    CHECK(same(x - one, {static_cast<T>(high - 1), high}));
    CHECK(same(x + 1.0, {low, static_cast<T>(low + 1)}));
    CHECK(same(x * 2.0, {static_cast<T>(-2), 0}));
    CHECK(same(x * x, {1, 0}));
    CHECK(same(square(x), {1, 0}));
    CHECK(same(scatter_add(x, 0, zeros({1}, {.dtype = DType::i64}), of({1})), {low, low}));
    if (std::is_signed_v<T>) {
      CHECK(same(-x, {static_cast<T>(-high), low}));
      CHECK(same(abs(x), {high, low}));
    }
  };
  check(std::int64_t{});
  check(std::int32_t{});
  check(std::uint8_t{});
  std::vector<std::int64_t> highest(2, std::numeric_limits<std::int64_t>::max());
  const Tensor x = from_blob(highest.data(), {2}, {.dtype = DType::i64});
  CHECK(sum(x).item<std::int64_t>() == -2);
  CHECK(prod(x).item<std::int64_t>() == 1);
  CHECK(cumsum(x, 0).data<std::int64_t>()[1] == -2);
}

TEST_CASE("a scalar is compared as the number it is", "[unit]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Tensor bytes = tensor({0, 44, 255}, {.dtype = DType::u8});
  CHECK(all(lt(bytes, 300)).item<bool>());  // 300 is 44 modulo 256
  CHECK(all(gt(bytes, -1)).item<bool>());
  CHECK(all(lt(bytes, kInfinity)).item<bool>());
  CHECK(all(ne(bytes, std::nan(""))).item<bool>());
  CHECK(values(eq(bytes, 43.5)) == std::vector<double>{0, 0, 0});
  CHECK_FALSE(eq(ones({}, {.dtype = DType::boolean}), 2).item<bool>());
  const Tensor wide = tensor({1e10}, {.dtype = DType::i64});
  CHECK(gt(wide, 5e9).item<bool>());
  const Tensor next = full({}, 0x1p60, {.dtype = DType::i64}) + 1;  // no double between the two
  CHECK_FALSE(eq(next, 0x1p60).item<bool>());
  CHECK(lt(next, 0x1p63).item<bool>());
  CHECK(lt(to(tensor({7}), DType::i32), 5e9).item<bool>());
}

TEST_CASE("a number beside integers counts as it is, or not at all", "[unit]") {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const Tensor longs = tensor({0, 5}, {.dtype = DType::i64});
  CHECK(clamp(longs, 1, kInfinity).dtype() == DType::i64);
  CHECK(values(clamp(longs, 1, kInfinity)) == std::vector<double>{1, 5});
  const Tensor odd = full({}, 0x1p53, {.dtype = DType::i64}) + 1;  // no double
  CHECK(clamp(odd, 0, 0x1p53).item<std::int64_t>() == std::int64_t{1} << 53);
  CHECK(clamp(odd, -kInfinity, kInfinity).item<std::int64_t>() == (std::int64_t{1} << 53) + 1);
  CHECK(clamp(longs, 0.5, 2.5).dtype() == DType::f32);
  CHECK(values(clamp(longs, 0.5, 2.5)) == std::vector<double>{0.5, 2.5});
  CHECK_THROWS_AS(clamp_(longs, 0.5, 2.5), Error);
  const Tensor bytes = tensor({10, 200}, {.dtype = DType::u8});
  CHECK(values(clamp(bytes, -5, 100)) == std::vector<double>{10, 100});
  CHECK_THROWS_AS(clamp(bytes, 300, 400), Error);
  CHECK_THROWS_AS(clamp_(bytes, -2, -1), Error);
  const Tensor first = tensor({1, 0}, {.dtype = DType::boolean});
  CHECK(where(first, longs, 7).dtype() == DType::i64);
  CHECK(values(where(first, longs, 0.5)) == std::vector<double>{0, 0.5});
  CHECK(where(first, first, 1).dtype() == DType::boolean);
  CHECK(values(where(first, bytes, 300)) == std::vector<double>{10, 300});
  // No integer is that large.
  CHECK((longs + 1e30).dtype() == DType::f32);
  CHECK(values(longs * -kInfinity)[1] == -kInfinity);
  CHECK(std::isnan(values(longs + std::nan(""))[0]));
  CHECK(values(0.5 - bytes) == std::vector<double>{-9.5, -199.5});
  CHECK(values(15 - bytes) == std::vector<double>{5, 71});  // -185 and 256
  CHECK((0.5 - full({}, -0x1p31, {.dtype = DType::i32})).item() == 0x1p31);
  for (const double y : {1e30, kInfinity, std::nan("")}) CHECK_THROWS_AS(add_(longs, y), Error);
  const auto refuses = [](DType dtype, double value) {
    CAPTURE(dtype, value);
    CHECK_THROWS_WITH(full({2}, value, {.dtype = dtype}), ContainsSubstring("[full] expected a "));
    CHECK_THROWS_WITH(fill_(zeros({2}, {.dtype = dtype}), value),
                      ContainsSubstring("[fill_] expected a value"));
  };
  refuses(DType::u8, 256);
  refuses(DType::u8, -1);
  refuses(DType::i32, 0x1p31);
  refuses(DType::i64, 0x1p63);
  for (const DType dtype : {DType::u8, DType::i32, DType::i64}) {
    for (const double value : {kInfinity, -kInfinity, std::nan("")}) refuses(dtype, value);
  }
  CHECK(full({}, 255.5, {.dtype = DType::u8}).item() == 255);
  CHECK(full({}, -0x1p63, {.dtype = DType::i64}).item() == -0x1p63);
  CHECK(full({}, -0x1p31, {.dtype = DType::i32}).item() == -0x1p31);
  CHECK(full({}, 300, {.dtype = DType::boolean}).item() == 1);
  CHECK(full({}, kInfinity).item() == kInfinity);
}

TEST_CASE("integers to whole powers are exact and wrap around", "[unit]") {
  const auto power = [](DType dtype, double base, double exponent) {
    const Tensor a = full({}, base, {.dtype = dtype}), b = full({}, exponent, {.dtype = dtype});
    if (exponent >= 0) {
      CHECK(pow(a, exponent).dtype() == dtype);
      CHECK(pow(a, exponent).item<std::int64_t>() == pow(a, b).item<std::int64_t>());
    }
    return pow(a, b).item<std::int64_t>();
  };
  CHECK(power(DType::i64, 3, 35) == 50031545098999707);
  CHECK(power(DType::i64, -3, 3) == -27);
  CHECK(power(DType::i64, 0, 0) == 1);
  CHECK(power(DType::i64, 100003, 2) == 10000600009);
  CHECK(power(DType::i32, 3, 21) == 1870418611);  // 10460353203 less 2 2^32
  CHECK(power(DType::u8, 7, 3) == 87);            // 343 less 256
  CHECK(power(DType::i64, 2, -1) == 0);
  CHECK(power(DType::i64, -1, -3) == -1);
  CHECK(pow(tensor({2}, {.dtype = DType::i64}), -1.0).item() == 0.5);
  CHECK(pow(tensor({2}, {.dtype = DType::i64}), 0.5).dtype() == DType::f32);
}

TEST_CASE("arithmetic with booleans is refused by its own name", "[unit]") {
  const Tensor mask = tensor({1, 0}, {.dtype = DType::boolean});
  CHECK(values(1.0 - mask) == std::vector<double>{0, 1});  // a number makes numbers of them
  CHECK(values(mask - 1.0) == std::vector<double>{0, -1});
  CHECK_THROWS_WITH(mask + mask, ContainsSubstring("[add]") && ContainsSubstring("logical_or"));
  CHECK_THROWS_WITH(-mask, ContainsSubstring("[neg]"));
  CHECK_THROWS_WITH(mul_(mask, mask), ContainsSubstring("[mul_]"));
  CHECK_THROWS_WITH(max(mask, 0), ContainsSubstring("[max]"));
}

TEST_CASE("conversion between any two types", "[unit]") {
  const Tensor x = tensor({0, 1, 2.75, 200}, {.dtype = DType::f64});
  for (DType from : kAllTypes) {
    for (DType into : kAllTypes) {
      const Tensor y = to(to(x, from), into);
      CHECK(y.dtype() == into);
      const bool boolean = from == DType::boolean || into == DType::boolean;
      const bool whole = !is_floating(from) || !is_floating(into);
      CHECK(values(y) == (boolean ? std::vector<double>{0, 1, 1, 1}
                          : whole ? std::vector<double>{0, 1, 2, 200}
                                  : std::vector<double>{0, 1, 2.75, 200}));
    }
  }
  CHECK(to(x, DType::f64).is_same(x));
  CHECK_THROWS_WITH(x.data<float>(), ContainsSubstring("[data] expected dtype f32, got f64"));
  CHECK_THROWS_WITH(to(x, Device{DeviceType::cuda, 0}), ContainsSubstring("no CUDA"));
}

TEST_CASE("the gradient of a conversion has the input's dtype", "[unit]") {
  for (const DType from : {DType::f64, DType::f32, DType::bf16}) {
    for (const DType into : {DType::f64, DType::f32, DType::bf16}) {
      const Tensor x = to(tensor({1, 2, -3}), from).detach().requires_grad_();
      const Tensor y = to(x, into);
      // d/dx sum y^2 = 2 y, and once more: 2
      const Tensor first =
          grad({sum(square(to(y, DType::f32)))}, {x}, {}, {.create_graph = true})[0];
      CHECK(first.dtype() == from);
      CHECK(values(first) == std::vector<double>{2, 4, -6});
      sum(to(first, DType::f32)).backward();
      CHECK(x.grad().dtype() == from);
      CHECK(values(x.grad()) == std::vector<double>{2, 2, 2});
    }
    const Tensor x = to(tensor({1, 2, -3}), from).detach().requires_grad_();
    CHECK_FALSE(to(x, DType::i64).requires_grad());
    CHECK_FALSE(to(x, DType::boolean).requires_grad());
  }
}

TEST_CASE("bf16 rounds to nearest, ties to even", "[unit]") {
  const auto round_trip = [](float v) { return static_cast<float>(BFloat16(v)); };
  const auto of_bits = [](std::uint32_t bits) { return std::bit_cast<float>(bits); };
  CHECK(round_trip(1.0f) == 1.0f);
  CHECK(round_trip(of_bits(0x3f808000)) == of_bits(0x3f800000));  // tie, even below
  CHECK(round_trip(of_bits(0x3f818000)) == of_bits(0x3f820000));  // tie, even above
  CHECK(round_trip(of_bits(0x3f808001)) == of_bits(0x3f810000));
  CHECK(round_trip(of_bits(0x3f807fff)) == of_bits(0x3f800000));
  CHECK(round_trip(std::numeric_limits<float>::max()) == std::numeric_limits<float>::infinity());
  CHECK(round_trip(-std::numeric_limits<float>::infinity()) ==
        -std::numeric_limits<float>::infinity());
  CHECK(std::signbit(round_trip(-0.0f)));
  CHECK(round_trip(of_bits(0x00010000)) == of_bits(0x00010000));  // denormal
  for (std::uint32_t nan : {0x7f800001u, 0xffffffffu, 0x7fc00000u}) {
    CHECK(std::isnan(round_trip(of_bits(nan))));
  }
  const Tensor x = randn({1000});
  const Tensor error = abs(to(to(x, DType::bf16), DType::f32) - x) / abs(x);
  CHECK(amax(error).item() <= 1.0 / 256);
}

TEST_CASE("item", "[unit]") {
  const std::int64_t large = (std::int64_t{1} << 62) + 1;
  Tensor x = empty({1, 1}, {.dtype = DType::i64});
  x.data<std::int64_t>()[0] = large;
  CHECK(x.item<std::int64_t>() == large);
  CHECK(ones({}, {.dtype = DType::boolean}).item<bool>());
  CHECK(full({}, 2.5, {.dtype = DType::bf16}).item() == 2.5);
  CHECK_THROWS_WITH(ones({2}).item(), ContainsSubstring("[item] expected a tensor of one element"));
  CHECK_THROWS_WITH(ones({0}).item(), ContainsSubstring("got shape [0]"));
  CHECK_THROWS_WITH(Tensor().item(), ContainsSubstring("got an undefined one"));
}

TEST_CASE("factories", "[unit]") {
  CHECK_THROWS_WITH(tensor({1, 300}, {.dtype = DType::u8}),
                    ContainsSubstring("[tensor] expected a value of u8 (0 to 255), got 300"));
  CHECK_THROWS_AS(tensor({std::nan("")}, {.dtype = DType::i64}), Error);
  CHECK(values(arange(1, 2, 0.25)) == std::vector<double>{1, 1.25, 1.5, 1.75});
  CHECK(values(arange(3, 0, -1, {.dtype = DType::i64})) == std::vector<double>{3, 2, 1});
  CHECK(arange(0, -5).numel() == 0);
  CHECK(values(linspace(0, 1, 3)) == std::vector<double>{0, 0.5, 1});
  CHECK(values(linspace(2, 5, 1)) == std::vector<double>{2});
  CHECK(linspace(2, 5, 0).shape() == Dims{0});
  CHECK(linspace(0, 0.3, 7, {.dtype = DType::f64}).data<double>()[6] == 0.3);
  CHECK(values(eye(2, 3)) == std::vector<double>{1, 0, 0, 0, 1, 0});
  CHECK(eye(0).shape() == Dims{0, 0});
  CHECK(values(full({2}, 3, {.dtype = DType::u8})) == std::vector<double>{3, 3});
  CHECK(zeros({2, 0}).numel() == 0);
  CHECK(ones({}).item() == 1);
  CHECK(ones({3}, {.requires_grad = true}).requires_grad());
  CHECK(ones_like(zeros({2}, {.dtype = DType::f64, .requires_grad = true})).requires_grad() ==
        false);
  CHECK_THROWS_AS(zeros({-1}), Error);
  CHECK_THROWS_AS(zeros({std::int64_t{1} << 61}), Error);
  CHECK_THROWS_AS(zeros({std::int64_t{1} << 62, 16}), Error);
  CHECK_THROWS_WITH(arange(0, 1, 0), ContainsSubstring("a step other than 0"));
  CHECK_THROWS_WITH(arange(0, 1e300), ContainsSubstring("at most 2^60"));
  CHECK_THROWS_WITH(linspace(0, 1, -1), ContainsSubstring("a number of steps, got -1"));
  CHECK_THROWS_AS(eye(2, -2), Error);
  CHECK_THROWS_WITH(linspace(-1e308, 1e308, 3), ContainsSubstring("a finite distance apart"));
  CHECK_THROWS_WITH(ones({1}, {.dtype = DType::i64, .requires_grad = true}),
                    ContainsSubstring("expected a floating dtype, got i64"));

  float buffer[4] = {1, 2, 3, 4};
  bool freed = false;
  {
    const Tensor x = from_blob(buffer, {2, 2}, {}, [&] { freed = true; });
    const Tensor row = select(x, 0, 1);
    fill_(row, 9);
    CHECK(buffer[3] == 9);
    CHECK_FALSE(freed);
  }
  CHECK(freed);
  CHECK_THROWS_WITH(from_blob(nullptr, {1}), ContainsSubstring("expected memory, got nullptr"));
}

TEST_CASE("random factories follow their generator", "[unit]") {
  Generator a(5), b(5);
  CHECK(values(rand({9}, {}, a)) == values(rand({9}, {}, b)));
  CHECK(values(randint(-3, 4, {50}, {.dtype = DType::i64}, a)) ==
        values(randint(-3, 4, {50}, {.dtype = DType::i64}, b)));
  CHECK(a.state() == b.state());
  const Tensor whole = randint(-3, 4, {1000}, {.dtype = DType::i64}, a);
  CHECK(amin(whole).item() == -3);
  CHECK(amax(whole).item() == 3);
  const Tensor u = rand({10000}, {}, a);
  CHECK((amin(u).item() >= 0 && amax(u).item() < 1 && std::abs(mean(u).item() - 0.5) < 0.02));
  const Tensor n = randn({10000}, {.dtype = DType::f64}, a);
  CHECK((std::abs(mean(n).item()) < 0.05 && std::abs(var(n).item() - 1) < 0.05));
  CHECK(std::abs(mean(bernoulli(0.3, {10000}, {}, a)).item() - 0.3) < 0.02);
  const Tensor order = randperm(100, a);
  CHECK(sum(order).item() == 4950);
  CHECK(amax(order).item() == 99);
  CHECK_THROWS_WITH(randint(3, 3, {1}), ContainsSubstring("expected low < high"));
  CHECK_THROWS_WITH(randint((1 << 24) + 1, (1 << 24) + 2, {1}, {.dtype = DType::f32}),
                    ContainsSubstring("[randint] expected bounds within 2^24 for dtype f32"));
  CHECK(amax(randint(0, 256, {5000}, {.dtype = DType::u8}, a)).item() == 255);
  CHECK_THROWS_WITH(randint(0, 257, {1}, {.dtype = DType::u8}),
                    ContainsSubstring("[randint] expected a value of u8 (0 to 255), got 256"));
  CHECK_THROWS_WITH(randint(-1, 3, {1}, {.dtype = DType::u8}), ContainsSubstring("got -1"));
  CHECK_THROWS_AS(randperm(std::int64_t{1} << 62), Error);
  CHECK_THROWS_WITH(bernoulli(1.5, {1}), ContainsSubstring("a probability in [0, 1]"));
}

TEST_CASE("a printed tensor reads well", "[unit]") {
  CHECK(to_string(Tensor()) == "undefined tensor");
  CHECK(to_string(full({}, 2.5)) == "2.5000  f32 []");
  CHECK(to_string(tensor({1, -2, 30})) == "[ 1., -2., 30.]  f32 [3]");
  CHECK(to_string(tensor({1, 1e30})) == "[        1., 1.0000e+30]  f32 [2]");
  CHECK(to_string(zeros({0})) == "[]  f32 [0]");
  CHECK(to_string(zeros({2, 0})) == "[[],\n []]  f32 [2, 0]");
  CHECK(to_string(zeros({std::int64_t{1} << 40, 0})).size() < 100);
  CHECK(to_string(reshape(arange(0, 4, 1, {.dtype = DType::i64}), {2, 2})) ==
        "[[0, 1],\n [2, 3]]  i64 [2, 2]");
  CHECK(to_string(zeros({2, 1, 1})) == "[[[0.]],\n\n [[0.]]]  f32 [2, 1, 1]");
  CHECK(to_string(tensor({1, 0}, {.dtype = DType::boolean})) == "[ true, false]  bool [2]");
  CHECK(to_string(tensor({1.5, std::nan(""), 1e-7})) ==
        "[    1.5000,        nan, 1.0000e-07]  f32 [3]");
  CHECK(to_string(transpose(reshape(arange(0, 4), {2, 2}))) ==
        "[[0., 2.],\n [1., 3.]]  f32 [2, 2]");
  CHECK(to_string(arange(0, 2000, 1, {.dtype = DType::i64})) ==
        "[   0,    1,    2, ..., 1997, 1998, 1999]  i64 [2000]");
  Tensor large = empty({1}, {.dtype = DType::i64});
  large.data<std::int64_t>()[0] = (std::int64_t{1} << 53) + 1;
  CHECK(to_string(large) == "[9007199254740993]  i64 [1]");
  const Tensor leaf = ones({1}, {.requires_grad = true});
  CHECK(to_string(leaf) == "[1.]  f32 [1] requires_grad");
  CHECK(to_string(leaf * 2) == "[2.]  f32 [1] grad_fn=mul");
  CHECK(fmt::format("{}", leaf) == to_string(leaf));
}

TEST_CASE("the allocator reuses blocks and keeps its bounds", "[unit]") {
  CachingAllocator& memory = allocator();
  memory.empty_cache();
  const MemoryStats start = memory.stats();
  {
    const Tensor x = empty({1000});
    CHECK(memory.stats().in_use > start.in_use);
  }
  CHECK(memory.stats().in_use == start.in_use);
  CHECK(memory.stats().cached >= 4000);
  const std::uint64_t from_system = memory.stats().from_system;
  for (int i = 0; i < 100; ++i) empty({1000 - i % 10});  // the same bucket
  CHECK(memory.stats().from_system == from_system);

  // Changing shapes do not make the cache grow: 64 MiB above 1.5 times the peak, at most.
  for (int i = 0; i < 200; ++i) empty({1000000 + 40000 * i});
  const MemoryStats after = memory.stats();
  CHECK(after.in_use == start.in_use);
  CHECK(after.in_use + after.cached <= after.peak + after.peak / 2 + (std::size_t{64} << 20));

  memory.empty_cache();
  CHECK(memory.stats().cached == 0);
  memory.set_limit(memory.stats().in_use + (std::size_t{1} << 20));
  CHECK_NOTHROW(empty({200000}));
  CHECK_THROWS_WITH(empty({300000}),
                    ContainsSubstring("[allocate] out of memory: asked for 1.1 MiB"));
  CHECK_NOTHROW(empty({100000}));  // room is made by emptying the cache
  memory.set_limit(0);
  CHECK_NOTHROW(empty({300000}));
  memory.reset_peak();
  CHECK(memory.stats().peak == memory.stats().in_use);
  CHECK_THROWS_WITH(allocator(Device{DeviceType::cuda, 0}), ContainsSubstring("no CUDA"));
}

namespace {

/// The system's memory, counted.
std::size_t held;
const RawMemory kCounted{[](std::size_t bytes) {
                           held += bytes;
                           return std::aligned_alloc(64, bytes);
                         },
                         [](void* block, std::size_t bytes) {
                           held -= bytes;
                           std::free(block);
                         }};

}  // namespace

TEST_CASE("every bucket of the allocator is freed with the size it was taken with", "[unit]") {
  held = 0;
  {
    CachingAllocator memory(kCounted);
    for (std::size_t bytes = 0; bytes < 70000; bytes = bytes * 9 / 8 + 1) {
      void* block = memory.allocate(bytes);
      CHECK(reinterpret_cast<std::uintptr_t>(block) % 64 == 0);
      const MemoryStats stats = memory.stats();
      CHECK(stats.in_use >= bytes);
      CHECK(stats.in_use <= std::max<std::size_t>(64, bytes + bytes / 8 + 64));
      memory.release(block, bytes);
    }
    CHECK(held == memory.stats().cached);
    memory.empty_cache();
  }
  CHECK(held == 0);
}

TEST_CASE("large blocks of different sizes share memory", "[unit]") {
  held = 0;
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  CachingAllocator memory(kCounted);
  const auto take = [&](std::size_t bytes) { return memory.allocate(bytes); };
  void* const whole = take(16 * kMiB);
  memory.release(whole, 16 * kMiB);
  REQUIRE(memory.stats().from_system == 1);
  std::vector<void*> parts;
  for (int i = 0; i < 16; ++i) parts.push_back(take(kMiB));
  CHECK(memory.stats().from_system == 1);
  // Given back in any order, they are one again.
  for (const std::size_t i : {3, 1, 2, 0, 15, 14, 4, 6, 5, 13, 7, 9, 8, 11, 12, 10}) {
    memory.release(parts[i], kMiB);
  }
  CHECK(take(16 * kMiB) == whole);
  CHECK(memory.stats().from_system == 1);
  memory.release(whole, 16 * kMiB);
  memory.empty_cache();
  CHECK(held == 0);
}

TEST_CASE("blocks of any sizes, taken and given back at random, never overlap", "[unit]") {
  held = 0;
  struct Block {
    unsigned char* bytes;
    std::size_t size;
    unsigned char mark;
  };
  std::vector<Block> blocks;
  CachingAllocator memory(kCounted);
  Generator generator(3);
  const auto below = [&](std::int64_t n) {
    return static_cast<std::size_t>(randint(0, n, {}, {.dtype = DType::i64}, generator).item());
  };
  std::size_t asked = 0;
  for (int i = 0; i < 3000; ++i) {
    if (blocks.size() < 40 && below(2) == 0) {
      const std::size_t size = std::size_t{1} << below(23);  // 1 B to 4 MiB, and a bit more
      blocks.push_back(
          {nullptr, size + below(static_cast<std::int64_t>(size)), static_cast<unsigned char>(i)});
      Block& block = blocks.back();
      block.bytes = static_cast<unsigned char*>(memory.allocate(block.size));
      asked += block.size;
      std::fill_n(block.bytes, block.size, block.mark);
    } else if (!blocks.empty()) {
      std::swap(blocks[below(static_cast<std::int64_t>(blocks.size()))], blocks.back());
      const Block block = blocks.back();
      const auto ours = [&](unsigned char byte) { return byte == block.mark; };
      REQUIRE(std::all_of(block.bytes, block.bytes + block.size, ours));
      memory.release(block.bytes, block.size);
      asked -= block.size;
      blocks.pop_back();
    }
    const MemoryStats stats = memory.stats();
    REQUIRE(stats.in_use >= asked);
    REQUIRE(stats.in_use + stats.cached == held);
  }
  for (const Block& block : blocks) memory.release(block.bytes, block.size);
  memory.empty_cache();
  CHECK(held == 0);
}

TEST_CASE("tensors in static variables outlive the thread's own state", "[unit]") {
  static Tensor forever = ones({2}, {.requires_grad = true});
  static Tensor result = forever * 2;
  CHECK(result.requires_grad());  // the sanitizers look at what happens at exit
}
