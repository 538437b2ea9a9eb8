// Where the API is. A school whose page and API have different addresses mounts its own file here.
window.CLMS_API = "";
