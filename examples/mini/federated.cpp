// Federated: three clients tune one model together, and none shows its rows. All know the seed, so a step's
// directions are known to all of them; a client sends what its own rows say of each point, one number, and gets
// their mean back. Who joins later needs nothing but the numbers so far.
//
// Its last line: mean loss 0\.6\d+ -> 0\.\d+; 16 bytes a step and client; one who came late has the same values to the bit
// SPDX-License-Identifier: Apache-2.0
#include <deque>
#include <iostream>
#include <span>
#include <utility>
#include <vector>
#include <zoq/estimate/spsa.hpp>
#include <zoq/exec/cpu.hpp>
#include <zoq/model/llama_forward.hpp>
#include <zoq/model/target.hpp>
#include <zoq/objective/option_likelihood.hpp>
#include <zoq/optim/sgd.hpp>
#include <zoq/random/seeds.hpp>
#include <zoq/train/evaluate.hpp>
#include <zoq/train/step.hpp>
#include <zoq/view/laid_out.hpp>
#include <zoq/view/lora.hpp>

#include "tiny_model.hpp"

const zoq::recipe recipe{.steps = 200, .seed = 7};
const zoq::spsa spsa{.epsilon = 1e-2};

class client {
 public:
  client(const zoq::cpu& exec, const zoq::llama& model, const std::vector<const char*>& texts)
      : exec_(exec),
        pass_(zoq::forward_of(exec, model)),
        tuned_(exec, zoq::lora_layout<zoq::cpu>(exec, zoq::target_of(model), {.rank = 2})),
        step_(exec, tuned_.order(), spsa, zoq::sgd{.rate = 2e-2}, recipe) {
    for (const char* text : texts) {
      rows_.push_back({tiny::tokens(text), {tiny::tokens(" no"), tiny::tokens(" yes")}, 1});
    }
  }

  /// What the own rows say of a step's points: all that leaves this client.
  std::vector<double> losses(std::span<const zoq::query> points) {
    tuned_.move_to(exec_, step_.direction(), points);
    std::vector<const zoq::example*> own;
    for (const zoq::example& row : rows_) {
      own.push_back(&row);
    }
    std::vector<double> out;
    for (const zoq::total& loss :
         zoq::evaluate(pass_, tuned_.branches(), zoq::option_likelihood{}, own).branch) {
      out.push_back(loss.mean());
    }
    return out;
  }

  /// A step by the means of all clients.
  void follow(std::span<const zoq::answer> means) { step_.replay(tuned_.values().data, means); }

  [[nodiscard]] std::vector<float> values() const { return tuned_.to_host(); }

 private:
  const zoq::cpu& exec_;
  std::vector<zoq::example> rows_;  // which nobody else sees
  decltype(zoq::forward_of(std::declval<const zoq::cpu&>(),
                           std::declval<const zoq::llama&>())) pass_;
  zoq::laid_out_view<zoq::cpu, zoq::lora_layout<zoq::cpu>> tuned_;
  zoq::stepper<zoq::cpu, zoq::spsa, zoq::sgd> step_;
};

int main() {
  const zoq::cpu exec;
  const zoq::llama model = tiny::model();
  std::deque<client> clients;
  clients.emplace_back(exec, model, std::vector{"the sun is warm", "ice is cold"});
  clients.emplace_back(exec, model, std::vector{"two is even"});
  clients.emplace_back(exec, model, std::vector{"grass is green", "night is dark", "fire is hot"});

  // The server has neither rows nor model: it knows the points that a step asks for, two seeds with their scales.
  zoq::spsa::state state;
  std::vector<std::vector<zoq::answer>> record;
  double first = 0, last = 0;
  for (std::uint64_t step = 0; step < recipe.steps; ++step) {
    std::vector<zoq::query> points;
    spsa.ask(exec,
             {.step = step,
              .seed = zoq::derive_seed(recipe.seed, zoq::purpose::directions, step),
              .order = {}},
             state, {}, points);
    std::vector<zoq::answer> means(points.size());
    for (client& c : clients) {
      const std::vector<double> losses = c.losses(points);
      for (std::size_t i = 0; i < points.size(); ++i) {
        means[i].loss += losses[i] / static_cast<double>(clients.size());
      }
    }
    for (client& c : clients) {
      c.follow(means);
    }
    last = (means[0].loss + means[1].loss) / 2;
    first = step == 0 ? last : first;
    record.push_back(means);
  }

  client late(exec, model, {});
  for (const auto& means : record) {
    late.follow(means);
  }
  const bool same =
      late.values() == clients[0].values() && clients[1].values() == clients[2].values();
  std::cout << "mean loss " << first << " -> " << last
            << "; 16 bytes a step and client; one who came late has "
            << (same ? "the same values to the bit" : "OTHER VALUES") << "\n";
  return same && last < 0.5 * first ? 0 : 1;
}
