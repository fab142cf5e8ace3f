// A new view: one factor on every output of every matrix.
//
// Its last line: outputs: 6, 22\.5
// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <string_view>
#include <utility>
#include <vector>
#include <zoq/exec/serial.hpp>
#include <zoq/ops/linear.hpp>
#include <zoq/view/laid_out.hpp>
#include <zoq/view/layout.hpp>
#include <zoq/view/target.hpp>
#include <zoq/view/view.hpp>

struct outputs_settings {
  static constexpr std::string_view name = "outputs";
  static constexpr std::string_view summary = "a factor on every output of every matrix";
  static constexpr std::string_view paper = "compare arXiv 2205.05638";
  static constexpr std::string_view cost = "4 bytes an output, 4 more for each branch";
};

// y_o = (1 + value_o) * (x W^T)_o. Values start at zero, so at the model.
template <zoq::executor X>
class outputs_layout {
 public:
  static constexpr std::string_view name = outputs_settings::name;

  outputs_layout(const X&, const zoq::view_target& target, const outputs_settings&)
      : tensors_(static_cast<zoq::index_t>(target.tensors.size())) {
    target.require_linear(name);
    for (zoq::index_t i = 0; i < tensors_; ++i) {
      const zoq::model_tensor& t = target.tensors[static_cast<std::size_t>(i)];
      if (t.role == zoq::tensor_role::linear && !target.selection.holds(t.name)) {
        blocks_.skip(t.weight.rows());  // left out: the directions of the others stay as they are
      } else if (t.role == zoq::tensor_role::linear) {
        const zoq::index_t first = blocks_.add(t.name + ".outputs", t.weight.rows(), 1);
        tuned_.push_back({i, t.weight.columns(), first});
      }
    }
  }

  const zoq::value_blocks& blocks() const { return blocks_; }
  zoq::index_t tensors() const { return tensors_; }
  void start(const X&, zoq::tensor_view<float, 1>) const {}  // they are zero already
  void hand_out(const X&, const zoq::part_values& values, zoq::handed_parts& out) {
    for (const tuned& t : tuned_) {
      out.tensor[static_cast<std::size_t>(t.number)].factor =
          zoq::factor_part{t.columns, values.from(t.first)};
    }
  }
  zoq::index_t byte_count() const { return 0; }

 private:
  struct tuned {
    zoq::index_t number, columns, first;
  };
  zoq::value_blocks blocks_;
  std::vector<tuned> tuned_;
  zoq::index_t tensors_;
};
static_assert(zoq::view_layout<outputs_layout<zoq::any_executor>, zoq::any_executor>);

int main() {
  const zoq::serial exec;
  const std::vector<float> weights = {1, 2, 3, 4, 5, 6};  // [2, 3]
  const std::vector<zoq::model_tensor> tensors = {
      {"blk.0.ffn_up.weight", zoq::any_packed{zoq::float_matrix(weights.data(), 2, 3)}}};
  zoq::laid_out_view view(exec, outputs_layout<zoq::serial>(exec, {.tensors = tensors}, {}));
  static_assert(zoq::parameter_view<decltype(view), zoq::serial>);
  view.values().data[1] = 0.5f;  // of the second output
  view.move_to_values(exec);
  const std::vector<float> x = {1, 1, 1};
  std::vector<float> y(2);
  zoq::linear(exec, {x.data(), {1, 3}}, tensors[0].weight, view.branches().on(0),
              view.branches().stack(), {y.data(), {1, 2}});
  std::cout << "outputs: " << y[0] << ", " << y[1] << "\n";
  return y[0] == 6 && y[1] == 22.5f ? 0 : 1;  // 15, and half of it more
}
