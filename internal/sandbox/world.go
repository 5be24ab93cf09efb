package sandbox

// person is somebody who works in the organisation.
type person struct {
	id, name string
}

// actor is who does something: a person, or an OAuth client in a pipeline.
type actor struct {
	person
	clientID    string // set: an OAuth client acted, and there is no user
	ip          string
	application string
}

// world is the organisation's cast and everything that happens in it; it is
// fixed by the seed.
type world struct {
	seed   uint64
	orgID  string
	admins []*actor
	robot  *actor // deploys in bulk
	system *actor

	people []person
	queues []object
	roles  []object
	skills []object

	scenes []*scene // each as often as it is likely
	grants []*scene // who got which role: what an auditor looks for first
	deploy []*scene // what a bulk deployment is made of
	logins []*scene // events of another type, which the usual filter hides
}

var adminNames = []string{
	"Ana Lima", "Ben Okafor", "Chloé Dubois", "Dmitri Volkov", "Elif Yılmaz", "Farid Haddad",
	"Grace Kim", "Henrik Sørensen", "Ines Moreno", "José Ñáñez", "Kavya Raman", "李娜",
}

var givenNames = []string{
	"Aisha", "Bruno", "Carla", "David", "Emma", "Felipe", "Giulia", "Hugo", "Ida", "Jonas",
	"Katja", "Liam", "Mária", "Noah", "Olga", "Pavel", "Quentin", "Rosa", "Søren", "Tomás",
}

var familyNames = []string{
	"Andersson", "Bauer", "Costa", "D'Souza", "Evans", "Fischer", "García", "Hansen", "O'Brien", "Zhang",
}

func newWorld(seed uint64) *world {
	w := &world{seed: seed}
	d := roll(seed, 1<<62)
	id := func() string { return string(d.uuid(nil)) }
	w.orgID = id()
	for i, name := range adminNames {
		w.admins = append(w.admins, &actor{
			person:      person{id(), name},
			ip:          "203.0.113." + string(appendJSON(nil, 10+i)),
			application: pick(&d, []string{"Genesys Cloud Admin", "Architect", "Public API"}),
		})
	}
	w.robot = &actor{clientID: id(), ip: "198.51.100.7", application: "CX as Code"}
	w.system = &actor{application: "Genesys Cloud"}
	for _, given := range givenNames {
		for _, family := range familyNames {
			w.people = append(w.people, person{id(), given + " " + family})
		}
	}
	w.skills = w.newSkills(&d)
	w.queues = w.newQueues(&d)
	w.roles = w.newRoles(&d)

	w.routingScenes(&d)
	w.peopleScenes(&d)
	w.platformScenes(&d)
	return w
}

// actorOf chooses who does a scene.
func (w *world) actorOf(s *scene, d *dice) *actor {
	switch {
	case s.bySystem:
		return w.system
	case d.chance(0.1):
		return w.robot
	}
	return pick(d, w.admins)
}

// often adds scenes, each weighing as much as times says.
func (w *world) often(times int, scenes ...*scene) {
	for range times {
		w.scenes = append(w.scenes, scenes...)
	}
}

func (w *world) id(d *dice) string { return string(d.uuid(nil)) }

// ids is a list of n people's ids.
func (w *world) ids(d *dice, n int) array {
	ids := make(array, n)
	for i := range ids {
		ids[i] = w.people[d.n(len(w.people))].id
	}
	return ids
}

func reversed(a array) array {
	turned := make(array, len(a))
	for i, v := range a {
		turned[len(a)-1-i] = v
	}
	return turned
}

func plus(a array, more ...any) array { return append(append(array{}, a...), more...) }
