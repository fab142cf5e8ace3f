// A new executor: serial loops that count what they run.
//
// Its last line: counting: \d+ calls, minimum near [01][.\d]*
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <string_view>
#include <vector>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/serial.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/tensor/executor.hpp>
#include <zoq/train/minimize.hpp>

// Memory, upload and download, linear and its reverse: serial's.
class counting : public zoq::serial {
 public:
  static constexpr std::string_view name = "counting";

  template <class F>
  void for_each(zoq::index_t n, const F& f) const {
    calls_ += n;
    zoq::serial::for_each(n, f);
  }
  template <class F>
  double sum(zoq::index_t n, const F& f) const {
    calls_ += n;
    return zoq::serial::sum(n, f);
  }

  zoq::index_t calls() const { return calls_; }

 private:
  mutable zoq::index_t calls_ = 0;  // of function objects
};
static_assert(zoq::executor<counting>);

template <zoq::executor X>
std::vector<float> minimum(const X& exec) {
  std::vector<float> x = {3, -2, 1, 0};
  const auto loss = [](std::span<const float> at) {
    double sum = 0;
    for (const float v : at) {
      sum += (v - 1.0) * (v - 1.0);
    }
    return sum;
  };
  zoq::minimize(exec, x, loss, zoq::spsa{.epsilon = 1e-3, .probes = 4}, zoq::sgd{.rate = 0.05},
                {.steps = 200, .seed = 1});
  return x;
}

int main() {
  const counting exec;
  const std::vector<float> x = minimum(exec);
  std::cout << "counting: " << exec.calls() << " calls, minimum near " << x[0] << "\n";
  return exec.calls() > 0 && x == minimum(zoq::serial{}) ? 0 : 1;
}
