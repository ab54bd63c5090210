// Redirects the URLs that MLflow's client prints, such as /#/experiments/3/runs/ID, to the matching page.
const run = /^#\/experiments\/\d+\/runs\/(r_[0-9a-z]+)$/.exec(location.hash);
if (run) location.replace(`/runs/${run[1]}`);
else if (location.hash.startsWith("#/experiments/")) location.replace("/runs");
