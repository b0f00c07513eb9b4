/* A plugin of QEMU (docs/devel/tcg-plugins): counts the instructions of programs under qemu-arm.
 * to=FILE names a file of 8 bytes, which all processes that have it add to.
 *
 * QEMU's header is in few packages, so what is used of it is declared here. VERSION is that of
 * the interface, which the plugin states and QEMU compares. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

struct qemu_plugin_tb;
typedef void executed_fn(unsigned cpu, void *data);
typedef void translated_fn(uint64_t id, struct qemu_plugin_tb *block);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translated_fn *callback);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, executed_fn *callback, int flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);

int qemu_plugin_version = VERSION;
static volatile uint64_t *counter;

static void executed(unsigned cpu, void *count)
{
	(void)cpu;
	*counter += (uintptr_t)count;
}

static void translated(uint64_t id, struct qemu_plugin_tb *block)
{
	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(block, executed, 0, (void *)qemu_plugin_tb_n_insns(block));
}

int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1)
		return 1;
	int file = open(strchr(argv[0], '=') + 1, O_RDWR);
	counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (counter == MAP_FAILED)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
