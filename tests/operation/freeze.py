"""Holds threads of a process still for a while, as a kernel that gives them no processor would.

    freeze.py PID SECONDS NAME...    prints "frozen" once all threads of these names stand still, which they
                                     do for so long, and until standard input ends
"""

import ctypes
import os
import sys
import time

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
# Threads of a tracee are waited for like children that were cloned (waitpid(2)).
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace {request:#x} of thread {thread}: {os.strerror(error)}")


def main(pid, seconds, *names):
    threads = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm") as comm:
            if comm.read().strip() in names:
                threads.append(int(thread))
    if len(threads) < len(names):
        raise SystemExit(f"{names} are not all there")
    for thread in threads:
        ptrace(PTRACE_SEIZE, thread)
        ptrace(PTRACE_INTERRUPT, thread)
        os.waitpid(thread, WALL)
    print("frozen", flush=True)
    time.sleep(float(seconds))
    sys.stdin.read()
    # The kernel lets go of what a tracer held when that ends.


main(*sys.argv[1:])
