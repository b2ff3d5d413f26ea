#include "dispatch.h"

#include <stdexcept>

namespace zeus {
namespace {

std::vector<const KernelTable*> tables() {
  std::vector<const KernelTable*> found;
#if defined(ZEUS_HAS_X86)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    found.push_back(&cpu_avx512);
  if (avx2) found.push_back(&cpu_avx2);
#endif
  found.push_back(&cpu_baseline);
  found.push_back(&cpu_voxel);  // last: nothing takes it unless it is forced
  return found;
}

}  // namespace

std::vector<std::string> table_names() {
  std::vector<std::string> names = {"cpu"};
  for (const KernelTable* table : tables()) names.emplace_back(table->name);
  return names;
}

const KernelTable& table(const std::string& name) {
  for (const KernelTable* table : tables())
    if (name == "cpu" || name == table->name) return *table;
  throw std::invalid_argument("no kernels called '" + name + "' in this build or on this machine");
}

}  // namespace zeus
