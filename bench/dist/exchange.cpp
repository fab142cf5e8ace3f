// How long a step's exchange takes: mpirun -n 2 exchange
//
// Each process says what a step with so many branches says, many times over; the figure is the median of one
// exchange on the slowest process.
// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>
#include <zoq/dist/mpi_team.hpp>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  {
    const zoq::mpi_team team;
    for (const std::size_t branches : {2, 8, 64}) {
      std::vector<double> microseconds;
      for (int i = 0; i < 500; ++i) {
        std::vector<std::int64_t> numbers(branches + 4, 1);  // as unite has them
        MPI_Barrier(MPI_COMM_WORLD);
        const auto start = std::chrono::steady_clock::now();
        team.add_up(numbers);
        microseconds.push_back(
            std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
                .count());
        if (numbers[0] != team.size()) {
          std::fprintf(stderr, "the sum is %lld\n", static_cast<long long>(numbers[0]));
          MPI_Abort(MPI_COMM_WORLD, 1);
        }
      }
      std::nth_element(microseconds.begin(), microseconds.begin() + 250, microseconds.end());
      double slowest = 0;
      MPI_Reduce(&microseconds[250], &slowest, 1, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
      if (team.rank() == 0) {
        std::printf("%zu branches, %lld processes: %.0f us\n", branches,
                    static_cast<long long>(team.size()), slowest);
      }
    }
  }
  MPI_Finalize();
  return 0;
}
