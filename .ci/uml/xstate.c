/* Lets User Mode Linux run on a processor with more registers than it knows of.
 *
 *     cc -shared -fPIC -o xstate.so xstate.c && LD_PRELOAD=./xstate.so linux …
 *
 * Linux 6.1 as a guest keeps the extended registers of its processes (ptrace(2), NT_X86_XSTATE) in
 * a buffer that ends after those of AVX. With AVX-512 or AMX there are more, and newer hosts refuse
 * to set a part of them: PTRACE_SETREGSET answers EFAULT, and the guest panics. So a part is made
 * whole here with what the process has in the rest.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long (*ptrace_function)(enum __ptrace_request, ...);

static char whole[1 << 16] __attribute__((aligned(64)));

long ptrace(enum __ptrace_request request, ...)
{
    static ptrace_function next;
    va_list arguments;
    va_start(arguments, request);
    pid_t pid = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (!next)
        next = (ptrace_function)dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && address == (void *)NT_X86_XSTATE) {
        struct iovec *part = data;
        struct iovec all = { whole, sizeof whole };
        if (next(PTRACE_GETREGSET, pid, address, &all) == 0 && all.iov_len > part->iov_len) {
            memcpy(whole, part->iov_base, part->iov_len);
            return next(request, pid, address, &all);
        }
    }
    return next(request, pid, address, data);
}
