# SPDX-License-Identifier: GPL-3.0-or-later
"""The words for what can go wrong at the vendor's: the release manager's tool and the release server."""

from __future__ import annotations

from .error_texts import ErrorText

VENDOR: dict[str, ErrorText] = {
    # the release manager's side
    "VENDOR_HOME": ErrorText(
        "The vendor folder {path} cannot be used: {detail}.",
        "Name the right folder with --home, or make a new one with 'clms-release init'.",
    ),
    "DEFINITION_INVALID": ErrorText(
        "The release definition {path} cannot be used: {detail}.",
        "Correct the definition and run 'clms-release build' again.",
    ),
    "RELEASE_USED": ErrorText(
        "Version {version} cannot be signed: {detail}.",
        "Give the release a new version and the next free sequence number, then build it again.",
    ),
    "RELEASE_NOT_LISTED": ErrorText(
        "Version {version} is not among the signed releases.",
        "Choose one of the versions that 'clms-release list' shows.",
    ),
    "ROTATION_UNFINISHED": ErrorText(
        "The vendor folder {path} has other keys than its newest root names.",
        "Run 'clms-release rotate-keys' again as it was run before; it finishes what was interrupted.",
    ),
    "ROOT_KEYS_MISSING": ErrorText(
        "A new root takes {needed} of the vendor's root keys, and {found} were given.",
        "Put in the drives with the root keys and name their files with --root-key.",
    ),
    "ROOT_KEY_USED": ErrorText(
        "The key in {path} is one of the root's keys already, so nothing was changed.",
        "Name a file that does not exist yet; the new key is made there.",
    ),
    "ROOT_KEYS_ALL": ErrorText(
        "All root keys were given, so it is open which one is to be replaced.",
        "Leave out the one that was lost or stolen.",
    ),
    "RELEASE_NOT_BUILT": ErrorText(
        "Version {version} was not built here.",
        "Run 'clms-release build' for it first.",
    ),
    "RELEASE_IMAGE_MISSING": ErrorText(
        "The Docker engine has no usable image {image}: {detail}.",
        "Build or load the image, then run 'clms-release build' again.",
    ),
    "PUSH_FAILED": ErrorText(
        "The image {image} could not be pushed to the registry {registry}: {detail}.",
        "Check the registry's address, its certificate and the login, then sign again.",
    ),
    "SIGNING_FAILED": ErrorText(
        "Signing failed: {detail}.",
        "Check that the vendor's key is in the GPG home and can sign without a subkey.",
    ),
    "PUBLISH_FAILED": ErrorText(
        "The release repository could not be copied to {path}: {detail}.",
        "Nothing half-written is in use there; mend the cause and publish again.",
    ),
    # the release server
    "SERVER_SETTINGS": ErrorText(
        "The settings file {path} of the release server cannot be used: {detail}.",
        "Correct the file as the guide for the release server says, then start again.",
    ),
    "SERVER_DATABASE": ErrorText(
        "The database of the release server cannot be used: {detail}.",
        "Check that it is running and its address is right, then run 'clms-release-server init-db'.",
    ),
    "SERVER_RELEASES": ErrorText(
        "The release server cannot use the releases that are published there: {detail}.",
        "Tell the vendor, who runs 'clms-release refresh' and 'clms-release publish'; try again later.",
    ),
    "SERVER_FAILED": ErrorText(
        "The server failed at this request.",
        "Try again later; whoever looks after it finds the cause in its log by the number {request}.",
    ),
    "CHANNEL_EMPTY": ErrorText(
        "The vendor has published no release in the channel {channel}.",
        "Check the name of the channel in the settings.",
    ),
    "SCHOOL_NAME": ErrorText(
        "A school cannot be named {name}.",
        "Take up to 100 letters, digits, dots, hyphens and underscores, such as the school's name in the inventory.",
    ),
    "SCHOOL_TAKEN": ErrorText(
        "There is a school named {name} already.",
        "Choose another name; to give a school one more key, use 'clms-release-server key add {name}'.",
    ),
    "SCHOOL_UNKNOWN": ErrorText(
        "There is no school named {name}.",
        "Run 'clms-release-server school list' and choose one of those it shows.",
    ),
    "SCHOOL_REVOKED": ErrorText(
        "The school {name} was revoked.",
        "Add it again under a new name: what was revoked is never given back its rights.",
    ),
    "API_KEY_UNKNOWN": ErrorText(
        "There is no API key number {key}.",
        "Run 'clms-release-server school list' and choose one of those it shows.",
    ),
    "SIGNING_KEY_FILE": ErrorText(
        "The file {path} cannot be used as a public signing key: {detail}.",
        "Name the Ed25519 public key (PEM) that was made on the school's server.",
    ),
    "SIGNING_KEY_TAKEN": ErrorText(
        "The signing key in {path} cannot be given to the school {name}: {detail}.",
        "Make a new key on the school's server and name its public half.",
    ),
    # what the release server answers
    "API_KEY_MISSING": ErrorText(
        "The request carries no API key.",
        "Send the school's API key in the header 'Authorization: Bearer …'.",
    ),
    "API_KEY_REFUSED": ErrorText(
        "The API key is not known, or it was revoked.",
        "Ask the vendor for a new API key.",
    ),
    "API_SCOPE": ErrorText(
        "The API key may not be used for this: it lacks the scope '{scope}'.",
        "Ask the vendor for a key with that scope.",
    ),
    "SIGNATURE_MISSING": ErrorText(
        "The request is not signed as it has to be: {detail}.",
        "Sign it with the school's signing key, as the guide for the release server says.",
    ),
    "SIGNATURE_INVALID": ErrorText(
        "The signature does not fit the request: {detail}.",
        "Send the request just as it was signed, to the address for which it was signed.",
    ),
    "SIGNATURE_KEY": ErrorText(
        "The signing key {keyid} is not known, or it was revoked.",
        "Ask the vendor to set the school's signing key ('clms-release-server school set-key').",
    ),
    "SIGNATURE_CLOCK": ErrorText(
        "The request was signed {difference_seconds} seconds from the release server's time, which is {server_time}.",
        "Set the clock of the school's server right, then send the request anew.",
    ),
    "SIGNATURE_SCHOOL": ErrorText(
        "The API key and the signing key belong to different schools.",
        "Use the two keys of the same school; if nobody mixed them up, ask the vendor to revoke the API key.",
    ),
    "SIGNATURE_REPLAYED": ErrorText(
        "This signed request was received before.",
        "Nothing was done; to send it again, sign it anew.",
    ),
    "REPORT_DIFFERS": ErrorText(
        "Run {run} was reported before, with another content.",
        "Nothing was stored; the report that came first stands.",
    ),
    "REQUEST_INVALID": ErrorText(
        "The server does not understand the request: {detail}.",
        "Look it up in the description of the interface at /api/openapi.json.",
    ),
    "REQUEST_CONTENT": ErrorText(
        "The content of the request cannot be used: {detail}.",
        "Nothing was stored; look whether both sides have the same version of CLMS Update.",
    ),
    "SESSION_MISSING": ErrorText(
        "Nobody is signed in.",
        "Sign in on the page of this school, or send a token.",
    ),
    "FORM_EXPIRED": ErrorText(
        "This form is out of date: it was open for too long, or you have signed in anew since.",
        "Go back, load the page again, and send it once more.",
    ),
    "REQUEST_HOST": ErrorText(
        "The request is for a server that this one is not.",
        "Use the address of this server as it was given to you.",
    ),
    "REQUEST_PATH": ErrorText(
        "There is nothing at this address.",
        "Look it up in the description of the interface at /api/openapi.json.",
    ),
    "REQUEST_METHOD": ErrorText(
        "This address cannot be asked in this way ({method}).",
        "Look it up in the description of the interface at /api/openapi.json.",
    ),
    "REQUEST_TOO_LARGE": ErrorText(
        "The request is larger than this server takes.",
        "Send a smaller one.",
    ),
    "REQUEST_TYPE": ErrorText(
        "The request's content is not of the type {wanted}.",
        "Send the header 'Content-Type: {wanted}' and content of that type.",
    ),
    "REQUEST_RANGE": ErrorText(
        "The file has no such part.",
        "Ask for the whole file.",
    ),
    "LIMIT_REACHED": ErrorText(
        "There were too many requests in a short time.",
        "Wait {seconds} seconds, then try again.",
    ),
}
