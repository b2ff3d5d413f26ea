#include "dispatch.h"

#include <stdexcept>

namespace zeus {
namespace {

std::vector<const KernelTable*> tables() {
  std::vector<const KernelTable*> found;
#if defined(ZEUS_HAS_AVX2)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c")) found.push_back(&cpu_avx2);
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
