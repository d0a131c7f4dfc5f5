import { readFileSync, realpathSync, statfsSync } from 'node:fs';

/**
 * File systems on which other machines, or a host outside of this virtual machine, change files without an event of
 * inotify(7), by their numbers in statfs(2).
 */
const silentTypes = new Set([
  0x6969, // NFS
  0x65735546, // FUSE, virtiofs
  0x01021997, // 9P, WSL2
  0xff534d42, // CIFS
  0xfe534d42, // SMB2
  0x517b, // SMB
  0x00c36400, // Ceph
  0x5346414f, // AFS
  0x6b414653, // AFS of the kernel
  0x73757245, // Coda
  0x0bd00bd0, // Lustre
  0x47504653, // GPFS
  0x7461636f, // OCFS2
  0x01161970, // GFS2
  0x786f4256, // VirtualBox
  0xbacbacbc, // VMware
  0x7c7c6673, // Parallels
]);

/**
 * Checks whether changes of a file can come without an event in these directories: a file system is known to be silent, or
 * the file is a mount point, which gets the events of another directory.
 */
export function isSilent(path: string, directories: Iterable<string>): boolean {
  return [path, ...directories].some(isOnSilentType) || isMountPoint(path);
}

function isOnSilentType(path: string): boolean {
  try {
    return silentTypes.has(statfsSync(path).type);
  } catch {
    return false; // it is absent
  }
}

function isMountPoint(path: string): boolean {
  try {
    const real = realpathSync(path);
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    return mounts.some((mount) => unescaped(mount.split(' ')[4] ?? '') === real);
  } catch {
    return false;
  }
}

/** proc(5) writes a space as \040. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
