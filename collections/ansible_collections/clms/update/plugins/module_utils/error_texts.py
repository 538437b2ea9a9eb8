# SPDX-License-Identifier: GPL-3.0-or-later
"""The words for what can go wrong at a school; see :mod:`.errors`."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter


@dataclass(frozen=True)
class ErrorText:
    """What happened and what to do, in words for a librarian or an operator."""

    happened: str
    remedy: str

    @property
    def names(self) -> set[str]:
        """The names of the values that both need."""
        return {name for text in (self.happened, self.remedy) for _, name, _, _ in Formatter().parse(text) if name}


SCHOOL: dict[str, ErrorText] = {
    # the description of the school
    "SCHOOL_INCOMPLETE": ErrorText(
        "The description of this school is incomplete: {detail}.",
        "Add what is missing to the school's inventory and start again.",
    ),
    "SCHOOL_CHANGED": ErrorText(
        "The description of this school does not fit its CLMS {version}: it {detail}.",
        "Put the description back as it was when that version was installed, and ask the vendor how to change it.",
    ),
    # the release and where it comes from
    "RELEASE_UNKNOWN": ErrorText(
        "The vendor has not published version {version}.",
        "Run 'clms-update list' and choose one of the versions it shows.",
    ),
    "RELEASE_OLDER": ErrorText(
        "Version {version} is older than the running version {current}.",
        "Choose a newer version; to go back, use 'clms-update rollback'.",
    ),
    "RELEASE_SAME": ErrorText("Version {version} is already running.", "Nothing needs to be done."),
    "RELEASE_MIN_VERSION": ErrorText(
        "Version {version} can only be installed over version {minimum} or newer; version {current} is running.",
        "Update to version {minimum} first, then to {version}.",
    ),
    "RELEASE_UPDATER_TOO_OLD": ErrorText(
        "Version {version} needs CLMS Update {minimum} or newer; {current} is installed.",
        "Update CLMS Update itself first.",
    ),
    "RELEASE_EXPIRED": ErrorText(
        "Version {version} may not be installed any more since {expires}.",
        "Check for updates and choose a newer version.",
    ),
    "RELEASE_INVALID": ErrorText(
        "The description of release {version} cannot be used: {detail}.",
        "Tell the vendor; nothing was changed here.",
    ),
    "RELEASE_OTHER_PRODUCT": ErrorText(
        "The release is made for {product}, not for CLMS.",
        "Check the address of the release server in the settings.",
    ),
    "RELEASE_ARCHITECTURE": ErrorText(
        "Version {version} has no images for this server's architecture {architecture}.",
        "Ask the vendor for a release for {architecture}.",
    ),
    "TRUST_REFUSED": ErrorText(
        "The release server's signed metadata was refused: {detail}.",
        "Do not install by other means; tell the vendor that the metadata of the release server is not valid.",
    ),
    "TRUST_EXPIRED": ErrorText(
        "There is no fresh news from the vendor: {detail}.",
        "Check this server's clock; if it is right, tell the vendor that the metadata has expired.",
    ),
    "RECOVERY_SHEET": ErrorText(
        "The recovery sheet in {path} cannot be used: {detail}.",
        "Type it in again from the printed sheet, line by line, into a file of mode 0600.",
    ),
    "NEW_SERVER": ErrorText(
        "This server is not empty, {path}: {detail}.",
        "Set a school up from a backup on a server where CLMS was never installed, or move that away first.",
    ),
    "SUPPORT_FILE": ErrorText(
        "The support bundle cannot be written to {path}: {detail}.",
        "Name a file that does not exist yet, in a folder with room for it.",
    ),
    "BUNDLE_REFUSED": ErrorText(
        "The file {path} was refused: {detail}.",
        "Copy it again from where it came from; if it is refused again, ask the vendor for a new one.",
    ),
    "BUNDLE_OLD": ErrorText(
        "The file {path} was made on {created}, and since then the vendor has changed or withdrawn version {version}.",
        "Ask the vendor for a newer file.",
    ),
    "BUNDLE_MISSING": ErrorText(
        "There is no file {path}, or it cannot be read: {detail}.",
        "Give the name of a file that the vendor has made with 'clms-release bundle'.",
    ),
    "FILE_SERVER": ErrorText(
        "The file server at {url} was not of use: {detail}.",
        "Check its address and certificate in the settings (clms_bundle_servers, clms_bundle_ca_file); everything else "
        "works without it.",
    ),
    "CLOCK_WRONG": ErrorText(
        "This server's clock says {now}, but {seen} was in the past already when the vendor was last heard of.",
        "Set the clock (for example with 'timedatectl set-ntp true'), then try again.",
    ),
    "TRUST_MISSING": ErrorText(
        "This school has no valid pinned root of trust at {path}.",
        "Put the vendor's root.json there, as the installation guide says.",
    ),
    "TRUST_STORE": ErrorText(
        "The verified metadata in {path} cannot be kept: {detail}.",
        "Check that the disk is neither full nor broken, then check for updates again.",
    ),
    "PACKAGE_SIGNATURE": ErrorText(
        "The package of version {version} is not signed by the vendor: {detail}.",
        "Do not install it; tell the vendor.",
    ),
    "PACKAGE_CORRUPT": ErrorText(
        "The package of version {version} differs from what the vendor signed: {detail}.",
        "Try again; if it happens twice, tell the vendor.",
    ),
    "SERVER_UNREACHABLE": ErrorText(
        "The release server at {url} cannot be reached: {detail}.",
        "Check this server's internet connection, or install from an offline package.",
    ),
    "SERVER_REFUSED": ErrorText(
        "What answers at {url} is not believed: {detail}.",
        "Ask whoever looks after the network whether something stands between this server and the vendor, and the "
        "vendor if nothing does; an offline package can be installed meanwhile.",
    ),
    "SERVER_ADDRESS": ErrorText(
        "The address {url} cannot be used: {detail}.",
        "Correct the address in the settings.",
    ),
    "CA_FILE": ErrorText(
        "The certificate authority file {path} cannot be used: {detail}.",
        "Put the vendor's CA certificate (PEM) there, as the installation guide says.",
    ),
    "REGISTRY_UNREACHABLE": ErrorText(
        "The image registry {registry} cannot be reached: {detail}.",
        "Check this server's internet connection, or install from an offline package.",
    ),
    "REGISTRY_LOGIN": ErrorText(
        "The image registry {registry} refused this school's login.",
        "Check the registry credentials file named in the settings.",
    ),
    "REGISTRY_DIGEST_MISSING": ErrorText(
        "The image registry does not have the image {image} that the release names.",
        "Tell the vendor that the image of this release is missing from the registry.",
    ),
    "PULL_TOO_SLOW": ErrorText(
        "The image {image} comes too slowly from the image registry: {detail}.",
        "Start the update anew, it goes on with what has come; or install from a file of the vendor.",
    ),
    "IMAGE_TOO_LARGE": ErrorText(
        "The image {image} is larger than the vendor has signed.",
        "Tell the vendor; the image is not used.",
    ),
    "IMAGE_MISMATCH": ErrorText(
        "The image {image} differs from what the vendor signed: {detail}.",
        "Tell the vendor; the image is not used.",
    ),
    "BUILD_ARGUMENT": ErrorText(
        "Version {version} is built for each school, and its service {service} needs to know '{argument}'.",
        "Add '{argument}' to clms_build_arguments in the description of this school; the vendor says what it means.",
    ),
    "BUILD_FAILED": ErrorText(
        "The image of {service} could not be built from the source of version {version}: {detail}.",
        "Tell the vendor; nothing was changed here.",
    ),
    "IMAGE_MISSING": ErrorText(
        "The image {image} of the backup {backup} is not on this server.",
        "Load it from the backup folder's 'images' with 'zstd -d < FILE | docker load', then try again.",
    ),
    # the server
    "ENGINE_UNREACHABLE": ErrorText(
        "The Docker engine does not answer: {detail}.",
        "Start the Docker engine ('systemctl start docker') and try again.",
    ),
    "ENGINE_IMAGE_STORE": ErrorText(
        "The Docker engine keeps its images in containerd's store, where they have other names than in releases and "
        "backups.",
        "Set 'containerd-snapshotter' among the 'features' in /etc/docker/daemon.json to false, and run "
        "'systemctl restart docker'. The engine then shows no more what it has now: if CLMS runs in it, ask the vendor "
        "first.",
    ),
    "DISK_TOO_SMALL": ErrorText(
        "There is not enough free space: {detail}.",
        "Free the missing space or enlarge the disk, then start again.",
    ),
    "DATABASE_LOGIN": ErrorText(
        "The database refused the login of the updater: {detail}.",
        "Check the database credentials file named in the settings.",
    ),
    "DATABASE_UNREACHABLE": ErrorText(
        "The database does not answer: {detail}.",
        "Check that the database container is running ('docker ps') and try again.",
    ),
    "DATABASE_SETTINGS": ErrorText(
        "The database is not set up so that an update is safe: {detail}.",
        "Change the named setting and restart the database, then start again.",
    ),
    "DATABASE_NOT_CONTAINER": ErrorText(
        "The database of this school does not run in a container that CLMS Update manages.",
        "Such schools cannot be updated by CLMS Update yet; ask the vendor.",
    ),
    "SCHOOL_NOT_RUNNING": ErrorText(
        "CLMS itself is not running as it should: {detail}.",
        "Run 'clms-update doctor' and mend what it names before updating.",
    ),
    "GATE_UNREACHABLE": ErrorText(
        "The gate in front of CLMS does not answer: {detail}.",
        "Start the container {container} ('docker start {container}') and try again.",
    ),
    "GATE_DIFFERS": ErrorText(
        "The gate in front of CLMS is not as the settings describe it: {detail}.",
        "Run the playbook install.yml, which makes the gate anew within a second, then start again.",
    ),
    "BACKUP_PLACE": ErrorText(
        "Backups cannot be written to {path}: {detail}.",
        "Mount or free the backup place, or name another one in the settings.",
    ),
    "BACKUP_LOCATION": ErrorText(
        "The settings name no external drive to which backups are copied.",
        "Name a folder on the drive in the settings, or keep the backup on this server alone.",
    ),
    "SECRET_FILE": ErrorText(
        "The file {path} cannot be used: {detail}.",
        "Make the file readable for root only (mode 0600) and fill it as the guide says.",
    ),
    # runs
    "RUN_ACTIVE": ErrorText(
        "Another run is going on: {kind} number {run}, at step '{phase}'.",
        "Wait until it has ended ('clms-update status' shows it), then try again.",
    ),
    "RUN_INTERRUPTED": ErrorText(
        "Run number {run} ({kind}) was interrupted at step '{phase}'.",
        "Run 'clms-update recover' first; it puts the school back in order.",
    ),
    "RUN_PHASE": ErrorText(
        "Step '{phase}' cannot be done now: {detail}.",
        "Start the whole update with 'clms-update update' instead of single steps.",
    ),
    "RUN_NONE": ErrorText(
        "There is no open run, so step '{phase}' may not change anything.",
        "Start the whole update, or open a run with the role preflight first, as the guide for roles says.",
    ),
    "RUN_LOOPS": ErrorText(
        "Run number {run} does the same over and over ({count} records).",
        "It is put back; send the output of 'clms-update doctor' to the vendor.",
    ),
    "RUN_FENCED": ErrorText(
        "Another process has taken run number {run} over, so this one may not do step '{phase}' any more.",
        "Nothing needs to be done here; 'clms-update status' shows how the run gets on.",
    ),
    "RUN_CANCELLED": ErrorText(
        "The {kind} (run number {run}) was stopped because somebody asked for it.",
        "CLMS was not closed and nothing was changed; start it again whenever it suits you.",
    ),
    "RUN_CLOSED": ErrorText(
        "The {kind} (run number {run}) cannot be stopped any more: CLMS is closed for it already, or it is done.",
        "Wait until it has ended; what it has brought can be undone then, also with 'clms-update rollback'.",
    ),
    "JOURNAL_UNREADABLE": ErrorText(
        "The journal {path} cannot be read: {detail}.",
        "Do not delete it; run 'clms-update recover', which keeps it and goes by what runs on this server.",
    ),
    "JOURNAL_BROKEN": ErrorText(
        "The journal {path} cannot be read ({problem}), and what else is written down does not say which version "
        "has to serve: {detail}.",
        "Call support; nothing was changed. Commands: {commands}",
    ),
    "JOURNAL_NEWER": ErrorText(
        "The journal {path} was written by a newer CLMS Update (format {found}, this one knows {known}).",
        "Install the newer CLMS Update again.",
    ),
    "NOT_INSTALLED": ErrorText(
        "No installation of CLMS is recorded on this server.",
        "Install the school first (playbook install.yml).",
    ),
    # the agent
    "AGENT_REQUEST": ErrorText(
        "The agent does not understand what it is asked for: {detail}.",
        "Nothing was done; look whether both sides have the same version of CLMS Update.",
    ),
    "AGENT_SILENT": ErrorText(
        "The agent of this server does not answer at {path}: {detail}.",
        "Start it ('systemctl start clms-update-agent') and try again.",
    ),
    "RUN_UNSEEN": ErrorText(
        "Run number {run} goes on at the school, but cannot be followed from here: {detail}.",
        "Do not start it again; once the server can be reached, 'clms-update status' there says how it ended.",
    ),
    "AGENT_TWICE": ErrorText(
        "Another agent of this school is running already.",
        "Use that one; to start it anew: 'systemctl restart clms-update-agent'.",
    ),
    "PROCESSES_STAY": ErrorText(
        "Processes of an interrupted run cannot be ended: {processes}. CLMS is not put back before they are gone.",
        "The agent goes on trying. See what they wait for ('ps -o pid,stat,wchan:30,args -p {processes}'), often a "
        "disk that does not answer; if they stay, restart this server.",
    ),
    "AGENT_CALLER": ErrorText(
        "This user may not ask the agent for anything.",
        "Ask as root, or as a member of the agent's group.",
    ),
    "AGENT_MISSING": ErrorText(
        "There is no agent on this server that could begin an update later.",
        "Start it ('systemctl enable --now clms-update-agent'), or update right now with 'clms-update update'.",
    ),
    "AGENT_BUSY": ErrorText(
        "Already {limit} programs follow what happens on this server, and there cannot be more.",
        "Close one of the pages or programs that watch, then try again.",
    ),
    # accounts of the page
    "ACCOUNTS_BROKEN": ErrorText(
        "The file {path} with the accounts of the update page cannot be used.",
        "Remove it on the server and make the accounts anew with 'clms-update account NAME'.",
    ),
    "ACCOUNT_EXISTS": ErrorText(
        "The update page of this school was set up already.",
        "Sign in; who has forgotten the password has it set anew on the server with 'clms-update account NAME'.",
    ),
    "ACCOUNT_CODE": ErrorText(
        "This is not the set-up code of this server.",
        "Run 'clms-update account --code' on the server, and type what it shows.",
    ),
    "ACCOUNT_NAME": ErrorText(
        "This name cannot be used for an account.",
        "Choose one of up to 40 small letters, digits, dots and hyphens that begins with a letter or digit.",
    ),
    "ACCOUNT_UNKNOWN": ErrorText(
        "There is no account {name}.",
        "Choose one of those that 'clms-update account --list' shows.",
    ),
    "PASSWORD_WEAK": ErrorText(
        "This password cannot be used: {detail}.",
        "Choose another one; a few words in a row are good.",
    ),
    "SIGN_IN_REFUSED": ErrorText(
        "Name and password do not belong together.",
        "Try again; who has forgotten the password has it set anew on the server with 'clms-update account NAME'.",
    ),
    "SIGN_IN_WAIT": ErrorText(
        "There were too many wrong passwords.",
        "Wait {seconds} seconds, then try again.",
    ),
    "TOKEN_REFUSED": ErrorText(
        "This token does not count: it was revoked, its account is gone, or has another password since.",
        "Make another one on the server with 'clms-update account --token NAME'.",
    ),
    "TOKEN_UNKNOWN": ErrorText(
        "There is no token {token}.",
        "Choose one of those that 'clms-update account --list' shows.",
    ),
    "RUN_UNKNOWN": ErrorText(
        "There is no run with the number {run} in the history.",
        "Choose one of those that the history shows.",
    ),
    # requests with an idempotency key
    "KEY_REUSED": ErrorText(
        "This idempotency key was sent with another request in the last 24 hours.",
        "Nothing was done; use a new key for each new request.",
    ),
    "KEY_ACTIVE": ErrorText(
        "A request with this idempotency key goes on, or was cut off so that nobody knows what became of it.",
        "Nothing was done; ask again in a moment, or look into the history before you send it with another key.",
    ),
    "KEYS_STORE": ErrorText(
        "The file {path} with the idempotency keys cannot be read or written: {detail}.",
        "Check that the disk is neither full nor broken, then try again.",
    ),
    "UPLOAD_FOLDER": ErrorText(
        "The file cannot be put into the folder {path}: {detail}.",
        "Start the agent anew, which makes the folder; 'clms-update import FILE' on the server does without it.",
    ),
    "UPLOAD_NONE": ErrorText(
        "No file came.",
        "Choose the file of the vendor, whose name ends in .zip, and send it once more.",
    ),
    "BACKUP_BUSY": ErrorText(
        "Another backup is being looked at or copied right now.",
        "Try again when that has ended.",
    ),
    "FORCED_NONE": ErrorText(
        "No update is forced right now.",
        "Look at what is new with 'clms-update check'.",
    ),
    "FORCED_LAST": ErrorText(
        "The update to version {version} was put off {count} times, and cannot be once more.",
        "Begin it now, or have it scheduled for the next quiet time.",
    ),
    "SETTING_WRONG": ErrorText(
        "The setting {setting} cannot be changed like this: {detail}.",
        "Write it as the hint beside it says; nothing was changed.",
    ),
    "SETTINGS_CHANGED": ErrorText(
        "Somebody else has changed the settings at this very moment; nothing of yours was changed.",
        "Look through them, and save again.",
    ),
    "SETTINGS_UNWRITABLE": ErrorText(
        "The description of this school is written in a way that cannot be changed from here without harm.",
        "Change it by hand on the server, in the file {path}; nothing was changed.",
    ),
    "NOTIFY_NOBODY": ErrorText(
        "Nobody is told what happens here.",
        "Write the addresses into a file of mode 0600, and name it in the school's description (clms_notify_file).",
    ),
    "NOTIFY_FAILED": ErrorText(
        "A notification could not be sent: {detail}.",
        "Look through the addresses in the settings or in the file {path}, and send a test: 'clms-update notify'.",
    ),
    # the schedule
    "SCHEDULE_TIME": ErrorText(
        "The time {at} cannot be used: {detail}.",
        "Choose 'tonight', 'weekend', or a time within the next year, written as 2026-11-24T22:00.",
    ),
    "SCHEDULE_PAST": ErrorText(
        "The time {at} has passed already.",
        "Choose a later time, or update right now.",
    ),
    "SCHEDULE_TWICE": ErrorText(
        "An update is scheduled already: number {schedule}, for {at}.",
        "Leave it at that, or cancel it with 'clms-update schedule --cancel {schedule}' and schedule another one.",
    ),
    "SCHEDULE_UNKNOWN": ErrorText(
        "There is no scheduled update number {schedule} that could be cancelled.",
        "Run 'clms-update list --schedule' to see what is scheduled.",
    ),
    "SCHEDULE_MISSED": ErrorText(
        "The update that was scheduled for {at} did not begin: {detail}.",
        "Schedule it again, or update right now with 'clms-update update'.",
    ),
    "SCHEDULE_STORE": ErrorText(
        "The schedule {path} cannot be read or written: {detail}.",
        "Check that the disk is neither full nor broken, then try again.",
    ),
    # phases
    "BACKUP_FAILED": ErrorText(
        "The backup could not be made: {detail}.",
        "Nothing was changed; mend the cause and start again.",
    ),
    "BACKUP_UNPROVEN": ErrorText(
        "The backup could not be proven by restoring it: {detail}.",
        "Nothing was changed; make a new backup, and check the disk if it happens twice.",
    ),
    "BACKUP_UNKNOWN": ErrorText(
        "There is no backup named {backup}.",
        "Run 'clms-update list --backups' and choose one of those it shows.",
    ),
    "BACKUP_TAMPERED": ErrorText(
        "The backup {backup} is not as it was written: {detail}.",
        "Do not restore it; choose another backup.",
    ),
    "REHEARSAL_BASELINE": ErrorText(
        "The running version failed the rehearsal on a copy of the data: {detail}.",
        "The fault is not in the update; mend CLMS or the smoke user first.",
    ),
    "REHEARSAL_MIGRATION": ErrorText(
        "Version {version} cannot convert this school's data: {detail}.",
        "Nothing was changed and CLMS was not closed; send the output of 'clms-update doctor' to the vendor.",
    ),
    "REHEARSAL_SMOKE": ErrorText(
        "Version {version} failed the rehearsal on a copy of the data: {detail}.",
        "Nothing was changed and CLMS was not closed; send the output of 'clms-update doctor' to the vendor.",
    ),
    "DRAIN_FAILED": ErrorText(
        "The running version could not be stopped cleanly: {detail}.",
        "CLMS was put back; start the update again at a quieter time.",
    ),
    "DATABASE_UNCLEAN": ErrorText(
        "The database did not shut down cleanly: {detail}.",
        "CLMS was put back; check the database's log before trying again.",
    ),
    "SLOT_FAILED": ErrorText(
        "The copy of the data for the new version could not be made: {detail}.",
        "CLMS was put back; check the disk and start again.",
    ),
    "MIGRATION_FAILED": ErrorText(
        "Converting the data for version {version} failed: {detail}.",
        "CLMS was put back as it was; send the output of 'clms-update doctor' to the vendor.",
    ),
    "CONTAINER_FAILED": ErrorText(
        "The new version could not be started: {detail}.",
        "CLMS was put back as it was; send the output of 'clms-update doctor' to the vendor.",
    ),
    "HEALTH_FAILED": ErrorText(
        "The new version started but is not healthy: {detail}.",
        "CLMS was put back as it was; send the output of 'clms-update doctor' to the vendor.",
    ),
    "SMOKE_FAILED": ErrorText(
        "The new version is up but does not do its work: {detail}.",
        "CLMS was put back as it was; send the output of 'clms-update doctor' to the vendor.",
    ),
    "ROLLBACK_UNAVAILABLE": ErrorText(
        "There is no earlier version to go back to: {detail}.",
        "Restore a backup instead ('clms-update list --backups').",
    ),
    "ROLLBACK_FAILED": ErrorText(
        "Putting the old version back failed: {detail}.",
        "Call support now; the maintenance page stays up. Commands: {commands}",
    ),
    "CONFIRMATION_MISSING": ErrorText(
        "Going back would lose {writes} since {since}.",
        "To go back all the same, repeat the command with --confirm {word}.",
    ),
    # anywhere
    "INTERNAL": ErrorText(
        "Something unexpected happened in step '{phase}': {detail}.",
        "Send this message and the output of 'clms-update doctor' to the vendor.",
    ),
}
