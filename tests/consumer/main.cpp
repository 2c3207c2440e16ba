// A stranger's program on an installed Invar: a network of two layers learns y = x0 * x1, and the
// program fails unless the loss falls to a tenth. `linear` runs on oneDNN and `logdet` on OpenBLAS:
// the libraries behind the package are found, too.
#include <cmath>
#include <cstdio>
#include <invar/core/version.hpp>
#include <invar/invar.hpp>

using namespace invar;

int main() {
  manual_seed(0);
  const Tensor x = randn({256, 2});
  const Tensor y = narrow(x, 1, 0, 1) * narrow(x, 1, 1, 1);

  Tensors parameters = {randn({32, 2}), zeros({32}), randn({1, 32}) * 0.2, zeros({1})};
  for (const Tensor& p : parameters) p.requires_grad_();

  double first = 0, last = 0;
  for (int step = 0; step < 300; ++step) {
    const Tensor hidden = tanh(linear(x, parameters[0], parameters[1]));
    const Tensor loss = mean(square(linear(hidden, parameters[2], parameters[3]) - y));
    loss.backward();
    NoGrad guard;
    for (const Tensor& p : parameters) {
      sub_(p, 0.1 * p.grad());
      p.set_grad({});
    }
    last = loss.item();
    if (step == 0) first = last;
  }
  std::printf("invar %s: loss %.4f -> %.4f\n", std::string(version()).c_str(), first, last);

  const double determinant = logdet(eye(3) * 2.0).item();
  return last < 0.1 * first && std::abs(determinant - 3 * std::log(2.0)) < 1e-6 ? 0 : 1;
}
