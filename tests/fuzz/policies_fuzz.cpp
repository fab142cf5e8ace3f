// Policies as text, in every slot: what is read is written so that it is read as the same again.
// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input.hpp"
#include "zoq/core/settings.hpp"
#include "zoq/estimate/estimators.hpp"
#include "zoq/objective/objectives.hpp"
#include "zoq/optim/optimizers.hpp"
#include "zoq/optim/schedule.hpp"
#include "zoq/random/directions.hpp"
#include "zoq/view/layouts.hpp"

namespace {

template <class Variant>
void slot(const char* what, std::string_view text) {
  zoq::fuzz::read_or_refused([&] {
    const auto read = zoq::policy_named<Variant>(what, text);
    const std::string written = zoq::policy_text(read);
    const auto again = zoq::policy_named<Variant>(what, written);
    zoq::fuzz::expect(zoq::policy_text(again) == written, "a policy changed by writing", written);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = zoq::fuzz::as_text({data, size});
  slot<zoq::any_estimator::list>("estimator", text);
  slot<zoq::any_optimizer::list>("optimizer", text);
  slot<zoq::any_direction>("direction", text);
  slot<zoq::any_schedule>("schedule", text);
  slot<zoq::any_objective::list>("objective", text);
  slot<zoq::any_view>("view", text);
  zoq::fuzz::read_or_refused([&] {
    const std::size_t half = text.size() / 2;
    const zoq::tensor_selection s = zoq::select(text.substr(0, half), text.substr(half));
    const zoq::tensor_selection again = zoq::select(s.layers_text(), s.exclude_text());
    zoq::fuzz::expect(again.layers_text() == s.layers_text(), "layers changed by writing", text);
    (void)s.holds("blk.3.ffn_up.weight");
  });
  return 0;
}
